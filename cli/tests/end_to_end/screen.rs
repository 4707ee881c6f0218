//! Reads back what the program shows people: resource trees, BARs, the picture.

use std::collections::BTreeMap;
use std::ops::Range;

/// A line of the resource tree.
pub(crate) struct Resource {
    pub(crate) depth: usize,
    pub(crate) phys: Range<u64>,
    pub(crate) name: String,
}

/// All lines that are of a resource tree.
pub(crate) fn resources(text: &str) -> Vec<Resource> {
    let parse = |line: &str| {
        let (range, name) = line.split_once(" : ")?;
        let (start, last) = range.trim_start().split_once('-')?;
        Some(Resource {
            depth: (range.len() - range.trim_start().len()) / 2,
            phys: u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(last, 16).ok()? + 1,
            name: name.into(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// A line of a BAR, and the device it stands under.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) function: String,
    pub(crate) kind: String,
    pub(crate) len_bytes: u64,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
}

/// All lines that are of a BAR.
pub(crate) fn bars(text: &str) -> Vec<Bar> {
    let mut function = "";
    let mut bars = Vec::new();
    for line in text.lines() {
        if line.starts_with("0000:") {
            function = line.split(' ').next().unwrap_or_default();
        }
        let Some(bar) = line.strip_prefix("    BAR") else {
            continue;
        };
        let (what, rest) = bar.split_once(", ").unwrap_or_default();
        let kind = what.split_once(' ').unwrap_or_default().1;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [len, "bytes:", "A", a, "B", b, "C", c] = words[..] else {
            panic!("not how a BAR is shown: {line}");
        };
        bars.push(Bar {
            function: function.into(),
            kind: kind.into(),
            len_bytes: hex(len),
            a: hex(a),
            b: hex(b),
            c: hex(c),
        });
    }
    bars
}

/// The numbers of the picture, by letter.
pub(crate) fn picture(text: &str) -> BTreeMap<char, u64> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("──")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            if let ("A" | "B" | "C" | "X" | "Y" | "Z", number) = (pair[0], pair[1]) {
                found.insert(pair[0].chars().next().expect("a letter"), hex(number));
            }
        }
    }
    assert_eq!(found.len(), 6, "{text}");
    found
}

fn hex(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").expect("a number starts with 0x");
    u64::from_str_radix(digits, 16).expect("a hexadecimal number")
}

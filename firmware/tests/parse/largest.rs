//! Tables of the greatest length, full of what is the most work to read: they must end in an answer or an error
//! soon. There is no clock here: what would take minutes shows by itself.

use firmware::{Damage, Devicetree, Dmar, Iort, Ivrs, Rimt, Viot};

use crate::devicetree::{cells, node, texts};
use crate::example::{dmar_of, table};

const BYTES_MAX: usize = 1 << 20;

/// A table of `body`, then `each(n)` for as many as fit; where `count_at` is given, their number goes there.
fn full(
    signature: &[u8; 4],
    body: &[u8],
    count: Option<usize>,
    each: impl Fn(u32) -> Vec<u8>,
) -> Vec<u8> {
    let mut body = body.to_vec();
    let number = (BYTES_MAX - 36 - body.len()) / each(0).len();
    for n in 0..number as u32 {
        body.extend(each(n));
    }
    if let Some(width) = count {
        let number = (number as u32).to_le_bytes();
        body[..width].copy_from_slice(&number[..width]);
    }
    table(signature, &body)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Place number `n` for registers.
fn place(n: u32) -> [u32; 2] {
    [n << 16, 1 + (n >> 16)]
}

#[test]
fn units_without_end_are_read() {
    let unit = |n: u32| {
        let [low, high] = place(n);
        words(&[16 << 16, 0, low, high])
    };
    let units: Vec<_> = (0..(BYTES_MAX as u32 - 48) / 16).map(unit).collect();
    let dmar = Dmar::parse(&dmar_of(&units)).unwrap();
    assert_eq!(dmar.description().units.len(), 65533);

    let unit = |n: u32| {
        let [low, high] = place(n);
        words(&[24 << 16 | 0x10, n, low, high, 0, 0])
    };
    let ivrs = Ivrs::parse(&full(b"IVRS", &[0; 12], None, unit)).unwrap();
    assert_eq!(ivrs.description().units.len(), 43688);

    let smmu = |n: u32| {
        let [low, high] = place(n);
        let mut node = words(&[60 << 8 | 4, 0, 0, 0, low, high]);
        node.resize(60, 0);
        node
    };
    let iort = full(b"IORT", &words(&[0, 48, 0]), Some(4), smmu);
    assert_eq!(Iort::parse(&iort).unwrap().description().units.len(), 17475);

    let iommu = |n: u32| {
        let [low, high] = place(n);
        words(&[40 << 16, 0, 0, 0, low, high, 0, 0, 0, 0])
    };
    let rimt = full(b"RIMT", &words(&[0, 48, 0]), Some(4), iommu);
    assert_eq!(Rimt::parse(&rimt).unwrap().description().units.len(), 26213);

    let iommu = |n: u32| words(&[16 << 16 | 3, n, 0, 0]);
    let viot = full(
        b"VIOT",
        &[0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        Some(2),
        iommu,
    );
    assert_eq!(Viot::parse(&viot).unwrap().description().units.len(), 65533);
}

#[test]
fn a_tree_of_many_nodes_ends_soon() {
    // Each memory node asks its parent, which has thousands of properties, for its cells.
    let names: Vec<String> = (0..20000).map(|n| format!("p{n}")).collect();
    let mut properties: Vec<_> = names.iter().map(|name| (name.as_str(), vec![])).collect();
    properties.push(("ranges", vec![]));
    let unit = [
        ("compatible", texts(&["riscv,iommu"])),
        ("reg", cells(&[0, 0x1000, 0x1000])),
    ];
    let children = (0..8000)
        .map(|n| node(&format!("u@{n}"), &unit, vec![]))
        .collect();
    let blob = crate::devicetree::blob(vec![node("bus", &properties, children)]);
    assert!(blob.len() > BYTES_MAX / 2);
    let tree = Devicetree::parse(&blob).unwrap();
    assert_eq!(tree.iommus().unwrap().units.len(), 8000);
}

#[test]
fn a_bus_of_more_ranges_than_any_has_is_refused() {
    let ranges = cells(&[0, 0x1000, 0, 0, 0].repeat(129));
    let unit = [
        ("compatible", texts(&["riscv,iommu"])),
        ("reg", cells(&[0, 0, 0x1000])),
    ];
    let bus = node(
        "bus",
        &[("ranges", ranges)],
        vec![node("iommu", &unit, vec![])],
    );
    let blob = crate::devicetree::blob(vec![bus]);
    let damage = Damage::TooMany {
        stated: 129,
        most: 128,
    };
    let iommus = Devicetree::parse(&blob).unwrap().iommus();
    assert_eq!(iommus.unwrap_err().damage, damage);
}

//! Figures, as a table for people or as JSON for programs.
//!
//! ```
//! use peers::report::{Row, json};
//! use peers::statistics::Summary;
//!
//! let (ours, peer) = (Summary { min: 9.0, median: 10.0 }, Summary { min: 18.0, median: 20.0 });
//! let row = Row { item: "page table map 4K".into(), peer: "linux", ours, theirs: peer };
//! assert_eq!(row.ratio(), 0.5);
//! assert!(json(&[row]).contains("\"ratio\": 0.5"));
//! ```

use serde_json::json;

use crate::measure::Took;
use crate::statistics::Summary;

/// One item, ours beside one peer's.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The load.
    pub item: String,
    /// Whose figure ours stands beside.
    pub peer: &'static str,
    /// What `dmamap` took.
    pub ours: Summary,
    /// What the peer took.
    pub theirs: Summary,
}

impl Row {
    /// Ours ÷ theirs, of the medians: below 1 is faster than the peer.
    pub fn ratio(&self) -> f64 {
        self.ours.median / self.theirs.median
    }
}

/// The rows of one load: the first contestant is ours, `items` names its phases.
pub fn rows(items: &[String], took: &[Took]) -> Vec<Row> {
    let Some((ours, others)) = took.split_first() else {
        return Vec::new();
    };
    let of_phase = |(phase, item): (usize, &String)| {
        let row = |other: &Took| {
            Some(Row {
                item: item.clone(),
                peer: other.peer,
                ours: *ours.phases.get(phase)?,
                theirs: *other.phases.get(phase)?,
            })
        };
        others.iter().filter_map(row).collect::<Vec<_>>()
    };
    items.iter().enumerate().flat_map(of_phase).collect()
}

/// An array of `{item, peer, ours_ns, peer_ns, ratio, ours_min_ns, peer_min_ns}`; what is not called `min` is a median.
pub fn json(rows: &[Row]) -> String {
    let object = |row: &Row| {
        json!({
            "item": row.item,
            "peer": row.peer,
            "ours_ns": round(row.ours.median),
            "peer_ns": round(row.theirs.median),
            "ratio": significant(row.ratio()),
            "ours_min_ns": round(row.ours.min),
            "peer_min_ns": round(row.theirs.min),
        })
    };
    let array: Vec<_> = rows.iter().map(object).collect();
    format!("{:#}", serde_json::Value::from(array))
}

/// Four digits of a ratio, however small it is.
fn significant(ratio: f64) -> f64 {
    format!("{ratio:.3e}").parse().unwrap_or(ratio)
}

/// A hundredth of a nanosecond is enough.
fn round(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}

/// The heading of the table.
pub fn heading() -> String {
    format!(
        "{:<44} {:<16} {:>12} {:>12} {:>8} {:>12} {:>12}",
        "item", "peer", "ours ns", "peer ns", "ratio", "ours min", "peer min"
    )
}

/// A line of the table.
pub fn line(row: &Row) -> String {
    format!(
        "{:<44} {:<16} {:>12} {:>12} {:>8} {:>12} {:>12}",
        row.item,
        row.peer,
        shown(row.ours.median),
        shown(row.theirs.median),
        shown_ratio(row.ratio()),
        shown(row.ours.min),
        shown(row.theirs.min)
    )
}

fn shown(ns: f64) -> String {
    match ns {
        0.0..100.0 => format!("{ns:.1}"),
        _ => format!("{ns:.0}"),
    }
}

fn shown_ratio(ratio: f64) -> String {
    match ratio {
        0.01.. => format!("{ratio:.2}"),
        _ => format!("{ratio:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(peer: &'static str, medians: &[f64]) -> Took {
        let summary = |median: &f64| Summary {
            min: median / 2.0,
            median: *median,
        };
        Took {
            peer,
            phases: medians.iter().map(summary).collect(),
        }
    }

    fn example() -> Vec<Row> {
        let items = ["map".to_owned(), "unmap".to_owned()];
        let took = [
            took("dmamap", &[10.0, 30.0]),
            took("linux", &[25.0, 20.0]),
            took("other", &[4000.0, 10000.0]),
        ];
        rows(&items, &took)
    }

    #[test]
    fn ours_stands_beside_each_peer_in_each_phase() {
        let rows = example();
        let figures: Vec<_> = rows
            .iter()
            .map(|row| (row.item.as_str(), row.peer, row.ratio()))
            .collect();
        assert_eq!(
            figures,
            [
                ("map", "linux", 0.4),
                ("map", "other", 0.0025),
                ("unmap", "linux", 1.5),
                ("unmap", "other", 0.003)
            ]
        );
        assert_eq!(super::rows(&["map".into()], &[]), []);
    }

    #[test]
    fn json_has_the_promised_members() {
        let value: serde_json::Value = serde_json::from_str(&json(&example())).unwrap();
        assert_eq!(value.as_array().map(Vec::len), Some(4));
        let first = json!({
            "item": "map", "peer": "linux", "ours_ns": 10.0, "peer_ns": 25.0, "ratio": 0.4,
            "ours_min_ns": 5.0, "peer_min_ns": 12.5,
        });
        assert_eq!(value[0], first);
        assert_eq!(value[1]["ratio"], 0.0025);
        assert_eq!(significant(1.23456e-7), 1.235e-7);
        assert_eq!(json(&[]), "[]");
    }

    #[test]
    fn lines_stand_below_their_heading() {
        let (heading, line) = (heading(), line(&example()[3]));
        assert_eq!(heading.len(), line.len());
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            ["unmap", "other", "30.0", "10000", "3.0e-3", "15.0", "5000"]
        );
    }
}

//! The charts are XML that says what it was given, and their points are where they belong.

use roxmltree::{Document, Node};

use super::*;

fn chart(points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "cost & <growth>".into(),
        x_label: "\"live\"".into(),
        y_label: "ns\u{7}\u{fffe}".into(),
        x_ticks: points.iter().map(|point| point.0).collect(),
        lines: vec![Line {
            name: "p50 < p99".into(),
            points,
        }],
    }
}

fn of_name<'a>(document: &'a Document<'_>, name: &'a str) -> Vec<Node<'a, 'a>> {
    let nodes = document.descendants();
    nodes
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
        .collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

#[test]
fn text_arrives_as_it_was_given_but_for_what_xml_cannot_hold() {
    let text = svg("a \u{1}\u{fffe}'b'", &[chart(vec![(1.0, 2.0)])]);
    let document = Document::parse(&text).unwrap();
    let texts: Vec<_> = of_name(&document, "text")
        .iter()
        .filter_map(Node::text)
        .collect();
    for wanted in [
        "a \u{fffd}\u{fffd}'b'",
        "cost & <growth>",
        "\"live\"",
        "ns\u{fffd}\u{fffd}",
        "p50 < p99",
    ] {
        assert!(texts.contains(&wanted), "{wanted:?} in {texts:?}");
    }
    assert_eq!(of_name(&document, "title").len(), 1);
}

#[test]
fn equal_factors_are_equal_ways() {
    let text = svg(
        "h",
        &[chart(vec![(1.0, 100.0), (10.0, 200.0), (100.0, 400.0)])],
    );
    let document = Document::parse(&text).unwrap();
    let places: Vec<_> = of_name(&document, "circle")
        .into_iter()
        .map(|node| (number(node, "cx"), number(node, "cy")))
        .collect();
    let [first, second, third] = places[..] else {
        panic!("{places:?}");
    };
    assert!(
        (third.0 - second.0 - (second.0 - first.0)).abs() < 0.3,
        "{places:?}"
    );
    assert!(
        (third.1 - second.1 - (second.1 - first.1)).abs() < 0.3,
        "{places:?}"
    );
    // To the right is more, and so is up.
    assert!(first.0 < second.0 && first.1 > second.1, "{places:?}");
    for (x, y) in places {
        assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
    }
}

#[test]
fn what_cannot_be_drawn_is_left_out() {
    let odd = vec![
        (0.0, 1.0),
        (1.0, f64::NAN),
        (f64::INFINITY, 2.0),
        (3.0, -1.0),
        (4.0, 5.0),
    ];
    let text = svg("h", &[chart(odd), chart(Vec::new())]);
    let document = Document::parse(&text).unwrap();
    assert_eq!(of_name(&document, "circle").len(), 1);
    assert_eq!(of_name(&document, "polyline").len(), 2);
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

#[test]
fn ticks_are_round_and_not_too_many() {
    let axis = |from, to| Axis::over([from, to].into_iter(), 0.0, 1.0).ticks();
    assert_eq!(axis(90.0, 1100.0), [100.0, 200.0, 500.0, 1000.0]);
    assert_eq!(axis(1.0, 1e6).len(), 7);
    assert_eq!(
        ["1", "2.5k", "100k", "1M", "0.5"],
        [1.0, 2500.0, 1e5, 1e6, 0.5].map(short)[..]
    );
}

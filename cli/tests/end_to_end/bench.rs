//! `dmamap bench`: its figures belong together, say what was asked for, and show what each protection does. How fast
//! anything was is nobody's business here.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::files::TestFile;
use crate::program::{Ended, Program};
use crate::report::number;

const IOMMUS: [&str; 6] = ["vtd", "vtd-scalable", "amd", "smmu", "riscv", "virtio"];

/// Long enough for some hundred mappings, also on a busy machine; no test asks how many.
const SHORT: [&str; 2] = ["--seconds", "0.05"];

fn run(args: &[&str]) -> Ended {
    Program::alone()
        .args(["bench"])
        .args(SHORT)
        .args(args)
        .finish()
}

/// The report of a measurement in which nothing was wrong.
#[track_caller]
fn measured(args: &[&str]) -> Value {
    let ended = run(&[args, &["--json"]].concat());
    ended.expect_status(0);
    assert_eq!(ended.stderr, "", "{ended:?}");
    let report = ended.report();
    consistent(&report);
    report
}

/// What holds of every report.
#[track_caller]
fn consistent(report: &Value) {
    let operations = number(report, "operations");
    assert!(operations > 0, "{report:#}");
    for key in ["maps", "unmaps"] {
        assert_eq!(number(report, key), operations, "{key} in {report:#}");
    }
    for key in ["map", "unmap", "pair"] {
        let latency = &report[key];
        assert_eq!(number(latency, "count"), operations, "{key} in {report:#}");
        let rising = ["min_ns", "p50_ns", "p99_ns", "p999_ns", "max_ns"];
        let values = rising.map(|name| number(latency, name));
        assert!(values.is_sorted(), "{key} in {report:#}");
        let mean = float(latency, "mean_ns");
        assert!(mean >= values[0] as f64 * 0.999, "{key} in {report:#}");
        assert!(mean <= values[4] as f64 * 1.001, "{key} in {report:#}");
    }
    // Both took as long as one and then the other; digits are kept three of.
    let sum = float(&report["map"], "mean_ns") + float(&report["unmap"], "mean_ns");
    let pair = float(&report["pair"], "mean_ns");
    assert!((sum - pair).abs() <= 0.01 * pair + 3.0, "{report:#}");
    let (rate, seconds) = (
        float(report, "operations_per_second"),
        float(report, "seconds"),
    );
    assert!(
        (rate * seconds / operations as f64 - 1.0).abs() < 1e-6,
        "{report:#}"
    );
    let bytes = number(&report["settings"], "size_bytes") as f64;
    let gib = float(report, "gib_per_second");
    assert!((gib * (1_u64 << 30) as f64 / (rate * bytes) - 1.0).abs() < 1e-6);
    assert!(
        seconds >= float(&report["settings"], "seconds"),
        "{report:#}"
    );
    assert!(float(report, "clock_ns") > 0.0, "{report:#}");
    for (total, each) in [
        ("invalidations", "invalidations_per_operation"),
        ("waits", "waits_per_operation"),
    ] {
        let counted = number(report, total) as f64 / operations as f64;
        assert!((counted - float(report, each)).abs() < 1e-9, "{report:#}");
    }
    for key in [
        "live_mappings",
        "quarantined_bytes",
        "frames_leaked",
        "leaves_found",
        "faults_total",
    ] {
        assert_eq!(report[key], 0, "{key} in {report:#}");
    }
    for key in ["findings", "wrong"] {
        assert_eq!(report[key], Value::Array(Vec::new()), "{key} in {report:#}");
    }
}

#[track_caller]
fn float(report: &Value, key: &str) -> f64 {
    let value = report[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} is no number in {report:#}"))
}

#[test]
fn strict_waits_for_the_unit_at_every_unmap() {
    for iommu in IOMMUS {
        for kind in [
            &[][..],
            &["--list", "3"],
            &["--non-coherent", "--size", "5000"],
        ] {
            let report = measured(&[&["--iommu", iommu][..], kind].concat());
            let operations = number(&report, "operations");
            for key in ["waits", "invalidations"] {
                assert!(number(&report, key) >= operations, "{key} in {report:#}");
            }
            // The driver and the unit agree.
            let commands = number(&report, "commands_completed");
            assert_eq!(commands, number(&report, "invalidations"), "{report:#}");
            assert_eq!(report["settings"]["policy"], "strict", "{report:#}");
            assert_eq!(number(&report, "flushes"), 0, "{report:#}");
        }
    }
}

#[test]
fn deferred_shares_waits_between_unmaps() {
    // Of all together: how many share a flush depends on how the machine gets on meanwhile.
    let (mut all, mut waited) = (0, 0);
    for iommu in IOMMUS {
        for threads in ["1", "2"] {
            let ring = ["--ring", "4", "--threads", threads];
            let report =
                measured(&[&["--iommu", iommu, "--policy", "deferred"], &ring[..]].concat());
            let operations = number(&report, "operations");
            assert_eq!(
                number(&report, "flushes_shared_by"),
                operations,
                "{report:#}"
            );
            let (flushes, waits) = (number(&report, "flushes"), number(&report, "waits"));
            // To map takes waits, too, where a unit reads no tables.
            if iommu != "virtio" {
                // One may be under way when counting begins, and one when it ends.
                assert!(waits + 2 >= flushes, "{report:#}");
                all += operations;
                waited += waits;
            }
            assert!(flushes <= operations, "{report:#}");
        }
    }
    assert!(2 * waited < all, "{waited} waits for {all} unmaps");
}

#[test]
fn each_page_of_a_list_lies_alone() {
    // Of a run, a unit that reads no tables is told once; of pages that lie apart, once each.
    for (kind, each) in [(["--list", "5"], 5), (["--size", "20K"], 1)] {
        let report = measured(&[&["--iommu", "virtio"], &kind[..]].concat());
        let wanted = each * number(&report, "operations");
        assert_eq!(number(&report, "map_requests"), wanted, "{report:#}");
    }
}

#[test]
fn bounce_and_identity_and_no_iommu_ask_no_unit() {
    for iommu in IOMMUS {
        let report = measured(&[
            "--iommu", iommu, "--policy", "bounce", "--size", "2K", "--live", "3",
        ]);
        let operations = number(&report, "operations");
        assert_eq!(number(&report, "bounced_maps"), operations, "{report:#}");
        assert_eq!(
            number(&report, "bounced_bytes"),
            2048 * operations,
            "{report:#}"
        );
        assert_eq!(number(&report, "waits"), 0, "{report:#}");
        assert!(
            number(&report["memory"], "pool_bytes") >= 3 * 2048,
            "{report:#}"
        );
    }
    for args in [
        &["--policy", "identity"][..],
        &["--iommu", "none"],
        &["--iommu", "none", "--policy", "identity", "--list", "5"],
    ] {
        let report = measured(args);
        assert_eq!(report["settings"]["policy"], "identity", "{report:#}");
        for key in [
            "waits",
            "invalidations",
            "bounced_maps",
            "commands_completed",
        ] {
            assert_eq!(number(&report, key), 0, "{key} in {report:#}");
        }
        assert_eq!(report["memory"]["domain_frames"], 0, "{report:#}");
    }
}

#[test]
fn what_is_short_is_copied_and_asks_no_unit_and_what_is_not_waits() {
    for iommu in ["vtd", "smmu", "virtio"] {
        let of = |size: &'static str| {
            measured(&["--iommu", iommu, "--copy-below", "4097", "--size", size])
        };
        let (short, long) = (of("4096"), of("8K"));
        let operations = number(&short, "operations");
        assert_eq!(short["settings"]["copy_below_bytes"], 4097, "{short:#}");
        assert_eq!(number(&short, "bounced_maps"), operations, "{short:#}");
        assert_eq!(number(&short, "waits"), 0, "{short:#}");
        assert_eq!(number(&long, "bounced_maps"), 0, "{long:#}");
        assert!(
            number(&long, "waits") >= number(&long, "operations"),
            "{long:#}"
        );
        assert_eq!(long["memory"]["pool_bytes"], Value::Null, "{long:#}");
    }
}

#[test]
fn threads_and_rings_and_what_lives_are_as_asked() {
    let report = measured(&["--threads", "3", "--ring", "5", "--live", "700"]);
    let memory = &report["memory"];
    assert_eq!(number(memory, "mappings"), 700 + 3 * 4, "{report:#}");
    let grown = number(memory, "domain_frames") - number(memory, "domain_frames_empty");
    // 712 pages are reached by 2 tables at least, and each address is recorded somewhere.
    assert!(grown >= 3, "{report:#}");
    let each = float(memory, "bytes_per_mapping");
    assert!(
        (each - (grown * 4096) as f64 / 712.0).abs() < 1e-6,
        "{report:#}"
    );
    let settings = &report["settings"];
    for (key, wanted) in [
        ("threads", 3),
        ("ring", 5),
        ("live", 700),
        ("size_bytes", 4096),
    ] {
        assert_eq!(number(settings, key), wanted, "{report:#}");
    }
    let report = measured(&["--list", "7"]);
    assert_eq!(
        report["memory"]["bytes_per_mapping"],
        Value::Null,
        "{report:#}"
    );
    assert_eq!(number(&report["settings"], "list_pages"), 7, "{report:#}");
    assert_eq!(
        number(&report["settings"], "size_bytes"),
        7 * 4096,
        "{report:#}"
    );
}

#[test]
fn caches_are_maintained_as_the_direction_says() {
    for (direction, cleaned, dropped) in [
        ("to-device", true, false),
        ("from-device", true, true),
        ("bidirectional", true, true),
    ] {
        let report = measured(&["--non-coherent", "--direction", direction]);
        let bytes = 4096 * number(&report, "operations");
        let wanted = |is: bool| if is { bytes } else { 0 };
        assert_eq!(
            number(&report, "cleaned_bytes"),
            wanted(cleaned),
            "{report:#}"
        );
        assert_eq!(
            number(&report, "invalidated_bytes"),
            wanted(dropped),
            "{report:#}"
        );
        assert_eq!(report["settings"]["direction"], direction, "{report:#}");
    }
}

#[test]
fn people_are_told_the_same() {
    let ended = run(&["--live", "10", "--threads", "2"]);
    ended.expect_status(0);
    assert_eq!(ended.stderr, "", "{ended:?}");
    for words in [
        "4K in one piece, bidirectional, iommu vtd, policy strict",
        "2 threads at once, 1 alive for each, 10 besides",
        "a second",
        "p99.9",
        "\n  map ",
        "\n  unmap ",
        "\n  both ",
        "clock ",
        "invalidations, ",
        "bytes for each of 10 that live",
        "left behind     0 mappings, 0 frames, 0 pages",
    ] {
        assert!(ended.stdout.contains(words), "no {words:?} in {ended:?}");
    }
    assert!(!ended.stdout.contains("wrong"), "{ended:?}");
}

#[test]
fn a_plot_is_drawn_whole_of_what_was_measured() {
    let beside = TestFile::random(1, 1);
    let (file, link) = (beside.beside("it's <a> & b.svg"), beside.beside("link.svg"));
    fs::write(&file, "old").expect("a file");
    symlink(&file, &link).expect("a link");
    let path = link.to_str().expect("it is text");
    let report = measured(&["--plot", path, "--live", "250", "--list", "2"]);
    let plot = &report["plot"];
    assert_eq!(plot["file"], path, "{report:#}");
    let positions = |series: &str, key: &str| -> Vec<u64> {
        let points = plot[series].as_array().expect("an array");
        assert!(
            points
                .iter()
                .all(|point| number(point, "p50_ns") <= number(point, "p99_ns"))
        );
        points.iter().map(|point| number(point, key)).collect()
    };
    assert_eq!(
        positions("by_live", "live"),
        [1, 10, 100, 250],
        "{report:#}"
    );
    let threads = positions("by_threads", "threads");
    assert!(threads[0] == 1 && threads.is_sorted(), "{report:#}");

    let text = fs::read_to_string(&file).expect("it was drawn");
    let drawn = roxmltree::Document::parse(&text).expect("it is XML");
    let root = drawn.root_element();
    assert!(
        root.has_tag_name(("http://www.w3.org/2000/svg", "svg")),
        "{text}"
    );
    let count = |name: &str| {
        let nodes = drawn.descendants();
        nodes.filter(|node| node.tag_name().name() == name).count()
    };
    assert_eq!(count("circle"), 2 * (4 + threads.len()), "{text}");
    assert_eq!(count("polyline"), 4, "{text}");
    let says = |words: &str| drawn.descendants().any(|node| node.text() == Some(words));
    for words in [
        "a list of 2 pages, bidirectional, iommu vtd, policy strict",
        "mappings alive besides",
        "threads",
        "nanoseconds",
        "p50",
        "p99",
        "250",
    ] {
        assert!(says(words), "no {words:?} in {text}");
    }
    assert!(link.is_symlink(), "the link was replaced");
    let files = fs::read_dir(beside.dir()).expect("a folder").count();
    assert_eq!(files, 3, "something else was left there");
}

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let ended = run(args);
    ended.expect_refused(words);
    assert_eq!(ended.stdout, "", "{ended:?}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let smaller = "--threads or --live smaller";
    refused(&["--size", "0"], &["--size 0", "at least one byte"]);
    for policy in ["strict", "deferred", "bounce"] {
        let args = ["--iommu", "none", "--policy", policy];
        refused(
            &args,
            &[
                &format!("--policy {policy}"),
                "--iommu none",
                "leave --policy out",
            ],
        );
    }
    for policy in ["deferred", "bounce", "identity"] {
        let args = ["--policy", policy, "--copy-below", "4K"];
        refused(&args, &["--copy-below", &format!("--policy {policy}")]);
    }
    refused(&["--size", "8G"], &["--ram 8G", "1 mappings", smaller]);
    refused(
        &["--live", "18446744073709551615"],
        &["more than 2^64 bytes", smaller],
    );
    refused(&["--size", "17179869183G"], &["--ram 8G", smaller]);
    let args = [
        "--ram",
        "64M",
        "--threads",
        "256",
        "--ring",
        "1048576",
        "--list",
        "1048576",
    ];
    refused(&args, &["--ram 64M", "268435456 mappings", smaller]);
    // It is less than there is, but not less than there is left.
    refused(
        &["--ram", "8M", "--live", "1950"],
        &["--ram 8M", "1951 mappings", smaller],
    );
    // The computer's memory has a hole below 4 GiB, and lends no more in one piece than 1 GiB.
    refused(
        &["--size", "1025M"],
        &["--ram 8G", "none in one piece", smaller],
    );
    // What stands on the host's own memory.
    refused(
        &["--ram", "128G", "--live", "33000000"],
        &["33000001 mappings", "this host"],
    );
    for args in [
        &["--size", "4K", "--list", "2"][..],
        &["--threads", "0"],
        &["--threads", "257"],
        &["--ring", "0"],
        &["--list", "0"],
        &["--live=-1"],
        &["--seconds", "0"],
        &["--seconds", "nan"],
        &["--direction", "sideways"],
        &["--policy", "lax"],
        &["--iommu", "amd", "--stage", "first"],
        &["--table-levels", "2"],
        &["--ram", "1M"],
        &["--no-such-flag"],
        &["a file"],
    ] {
        let flag = args[0].split('=').next().expect("a word");
        refused(args, &[flag]);
    }
}

#[test]
fn a_plot_that_has_no_place_is_refused_before_anything_is_measured() {
    let beside = TestFile::random(1, 1);
    let nowhere = beside.beside("none").join("plot.svg");
    refused(
        &["--plot", nowhere.to_str().unwrap()],
        &["plot.svg", "No such file"],
    );
    refused(&["--plot", beside.dir().to_str().unwrap()], &["directory"]);
    refused(&["--plot", ""], &["--plot"]);
    let below = beside.path.join("plot.svg");
    refused(&["--plot", below.to_str().unwrap()], &["Not a directory"]);
    // So is one of which a later measurement would not fit.
    let place = beside.beside("plot.svg");
    let args = [
        "--plot",
        place.to_str().unwrap(),
        "--ram",
        "16M",
        "--live",
        "10000",
    ];
    refused(&args, &["--ram 16M"]);
    assert!(!place.exists());
}

#[test]
fn help_names_every_setting() {
    let ended = Program::alone().args(["bench", "--help"]).finish();
    ended.expect_status(0);
    for flag in [
        "--iommu",
        "--policy",
        "--threads <N>",
        "--size <BYTES>",
        "--list <PAGES>",
        "--ring <DEPTH>",
        "--live <N>",
        "--direction",
        "--seconds <S>",
        "--plot <FILE>",
        "--json",
        "--non-coherent",
        "--ram <SIZE>",
        "[default: 4K]",
    ] {
        assert!(ended.stdout.contains(flag), "no {flag}: {ended:?}");
    }
}

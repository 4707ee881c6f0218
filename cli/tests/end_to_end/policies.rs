//! How long the disk reaches a buffer: what each policy does shows in the report, with devices that snoop and that do not.

use serde_json::Value;

use crate::files::TestFile;
use crate::program::Program;
use crate::report::number;

/// Bytes of the file: many commands, and no whole number of blocks.
const LEN_BYTES: u64 = (3 << 20) + 777;

/// The IOMMUs each policy is tried with.
const IOMMUS: [&str; 6] = ["vtd", "vtd-scalable", "amd", "smmu", "riscv", "virtio"];

/// Reads `file` clean with each of `policies`, on devices that snoop and do not, and has `check` look at each report.
fn with_policy(file: &TestFile, iommus: &[&str], policy: &str, check: impl Fn(&Value)) {
    for iommu in iommus {
        for non_coherent in [&[][..], &["--non-coherent"]] {
            let ended = Program::reads(&file.path)
                .args(["--json", "--policy", policy, "--iommu", iommu])
                .args(non_coherent)
                .finish();
            let report = ended.expect_clean(file);
            check(&report);
            let synced = ["cleaned_bytes", "invalidated_bytes"].map(|key| number(&report, key));
            match non_coherent {
                [] => {
                    assert_eq!(report["caches"], Value::Null, "{ended:?}");
                    assert_eq!(synced, [0, 0], "{ended:?}");
                }
                _ => {
                    let caches = &report["caches"];
                    assert!(synced.iter().all(|&bytes| bytes >= LEN_BYTES), "{ended:?}");
                    assert!(number(caches, "cleaned_dirty_lines") > 0, "{ended:?}");
                    assert_eq!(number(caches, "invalidated_dirty_lines"), 0, "{ended:?}");
                }
            }
        }
    }
}

/// Nothing was left to a flush that others share.
fn no_flushes(report: &Value) {
    for key in ["flushes", "flushes_shared_by", "largest_flush"] {
        assert_eq!(number(report, key), 0, "{key} in {report:#}");
    }
    assert_eq!(report["longest_window_ms"], 0.0, "{report:#}");
}

#[test]
fn strict_takes_every_buffer_back_alone() {
    let file = TestFile::random(LEN_BYTES, 91);
    with_policy(&file, &IOMMUS, "strict", |report| {
        no_flushes(report);
        assert_eq!(number(report, "bounced_bytes"), 0, "{report:#}");
        // Each unmap is confirmed by the unit before it returns.
        let (invalidations, unmaps) = (number(report, "invalidations"), number(report, "unmaps"));
        assert!(invalidations >= unmaps, "{report:#}");
    });
}

#[test]
fn deferred_leaves_unmaps_to_flushes_and_says_how_long_they_waited() {
    let file = TestFile::random(LEN_BYTES, 92);
    with_policy(&file, &IOMMUS, "deferred", |report| {
        let (flushes, left) = (
            number(report, "flushes"),
            number(report, "flushes_shared_by"),
        );
        let largest = number(report, "largest_flush");
        // Each flush is of something, and nothing is left over when the disk is given back.
        assert!(flushes > 0 && left >= flushes, "{report:#}");
        assert!((1..=left).contains(&largest), "{report:#}");
        assert_eq!(number(report, "waiting_for_flush"), 0, "{report:#}");
        // Every buffer of data was left to one.
        assert!(left <= number(report, "unmaps"), "{report:#}");
        assert!(left >= LEN_BYTES >> 18, "{report:#}");
        assert_eq!(number(report, "bounced_bytes"), 0, "{report:#}");
        // A window is open for some time, and not for longer than the job took.
        let window_ms = report["longest_window_ms"].as_f64().expect("a number");
        let seconds = report["seconds"].as_f64().expect("a number");
        assert!(window_ms > 0.0, "{report:#}");
        assert!(window_ms <= 1e3 * seconds, "{report:#}");
    });
}

#[test]
fn bounce_copies_every_byte_and_leaves_nothing_to_flushes() {
    let file = TestFile::random(LEN_BYTES, 93);
    with_policy(&file, &IOMMUS, "bounce", |report| {
        no_flushes(report);
        assert!(number(report, "bounced_bytes") >= LEN_BYTES, "{report:#}");
        let (copied, maps) = (number(report, "bounced_maps"), number(report, "maps"));
        assert!((1..=maps).contains(&copied), "{report:#}");
    });
}

#[test]
fn identity_asks_no_unit_for_a_buffer() {
    let file = TestFile::random(LEN_BYTES, 94);
    let iommus = ["none"].into_iter().chain(IOMMUS).collect::<Vec<_>>();
    with_policy(&file, &iommus, "identity", |report| {
        no_flushes(report);
        assert_eq!(number(report, "bounced_bytes"), 0, "{report:#}");
        // To attach a disk and detach it takes some; mapping and unmapping its buffers takes none.
        let (invalidations, unmaps) = (number(report, "invalidations"), number(report, "unmaps"));
        assert!(invalidations < unmaps, "{report:#}");
    });
}

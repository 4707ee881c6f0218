//! A disk that does not reach all memory, or must not: its data goes by way of copies, and the program says so.

use serde_json::Value;

use crate::files::TestFile;
use crate::program::Program;

fn report(file: &TestFile, args: &[&str]) -> Value {
    let ended = Program::reads(&file.path)
        .args(["--json"])
        .args(args)
        .finish();
    ended.expect_status(0);
    ended.report()
}

#[test]
fn a_disk_with_few_address_lines_and_no_iommu_reads_by_way_of_copies() {
    let len = (3 << 20) + 777;
    let file = TestFile::random(len, 81);
    for args in [
        &["--iommu", "none", "--address-bits", "28"][..],
        &["--iommu", "none", "--address-bits", "32"],
        &["--policy", "identity", "--address-bits", "28"],
        &["--iommu", "none", "--policy", "bounce"],
        &["--policy", "bounce"],
        &[
            "--policy",
            "bounce",
            "--iommu",
            "smmu",
            "--address-bits",
            "28",
        ],
    ] {
        let report = report(&file, args);
        assert_eq!(report["verified"], true, "{args:?}");
        let bounced = report["bounced_bytes"].as_u64().expect("a number");
        assert!(bounced >= len, "{args:?}: {bounced}");
        assert_eq!(report["frames_leaked"], 0, "{args:?}");
    }
}

#[test]
fn a_disk_that_reaches_all_memory_is_given_no_copies() {
    let file = TestFile::random(100_000, 82);
    for args in [
        &["--iommu", "none"][..],
        &["--address-bits", "28"],
        &["--iommu", "none", "--address-bits", "28", "--ram", "128M"],
    ] {
        let report = report(&file, args);
        assert_eq!(report["bounced_bytes"], 0, "{args:?}");
        assert_eq!(report["bounced_maps"], 0, "{args:?}");
    }
}

#[test]
fn copies_are_spoken_of() {
    let file = TestFile::random(100_000, 83);
    let ended = Program::reads(&file.path)
        .args(["--iommu", "none", "--address-bits", "28"])
        .finish();
    ended.expect_status(0);
    let text = &ended.stdout;
    assert!(text.contains("the disk was given copies"), "{text}");
    assert!(text.contains("Z leads to a copy of the buffer"), "{text}");
}

#[test]
fn what_was_written_by_way_of_copies_is_read_back() {
    let file = TestFile::random(1 << 20, 84);
    let copy = file.beside("copy");
    let report = {
        let ended = Program::reads(&file.path)
            .args(["--json", "--iommu", "none", "--address-bits", "28"])
            .args(["--write"])
            .args([&copy])
            .finish();
        ended.expect_status(0);
        ended.report()
    };
    assert_eq!(report["copy_sha256"], report["sha256"]);
    // Both disks have so few: the first is read twice, the second is written and read.
    let bounced = report["bounced_bytes"].as_u64().expect("a number");
    assert!(bounced >= 4 << 20, "{report:#}");
    let bytes = std::fs::read(&copy).expect("the copy is there");
    assert!(bytes == std::fs::read(&file.path).expect("the file is there"));
}

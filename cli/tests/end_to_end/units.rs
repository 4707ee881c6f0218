//! Every kind of unit of our own models: what arrives is right, calm and under attack, in every temper.

use std::fs;

use crate::files::TestFile;
use crate::program::Program;
use crate::report::number;

/// What stands before memory, with the settings that choose it.
const UNITS: [&[&str]; 9] = [
    &["--iommu", "vtd"],
    &["--iommu", "vtd-scalable", "--stage", "first"],
    &["--iommu", "vtd-scalable", "--stage", "second"],
    &["--iommu", "amd"],
    &["--iommu", "smmu", "--stage", "first"],
    &["--iommu", "smmu", "--stage", "second"],
    &["--iommu", "riscv", "--stage", "first"],
    &["--iommu", "riscv", "--stage", "second"],
    &["--iommu", "virtio"],
];

const TEMPERS: [&str; 3] = ["keep", "forget", "random"];

#[test]
fn behind_every_unit_a_file_arrives_and_is_copied_in_every_temper() {
    let file = TestFile::random(700_001, 40);
    let copy = file.beside("copy");
    for (n, unit) in UNITS.iter().chain([&&["--iommu", "none"][..]]).enumerate() {
        for (m, temper) in TEMPERS.iter().enumerate() {
            fs::write(&copy, vec![0xff; [0, 700_002, 5][m]]).expect("a file");
            let ended = Program::reads(&file.path)
                .args(["--json", "--temper", temper, "--write"])
                .args([&copy])
                .args(*unit)
                .args(["--seed", &(n * 3 + m).to_string()])
                .args(["--queues", ["1", "3"][(n + m) % 2]])
                .args(["--completion", ["interrupt", "polling"][(n / 2 + m) % 2]])
                .finish();
            let report = ended.expect_clean(&file);
            assert_eq!(report["copy_sha256"], file.sha256, "{ended:?}");
            assert_eq!(report["leaves_found"], 0, "{ended:?}");
            let invalidates = number(&report, "invalidations") > 0;
            assert_eq!(invalidates, unit[1] != "none", "{ended:?}");
            file.expect_same(&copy);
        }
    }
}

#[test]
fn every_unit_stops_a_rogue_disk_in_every_temper() {
    let file = TestFile::random(300_001, 41);
    let copy = file.beside("copy");
    for (n, unit) in UNITS.iter().enumerate() {
        for (m, temper) in TEMPERS.iter().enumerate() {
            let ended = Program::reads(&file.path)
                .args(["--json", "--rogue", "--temper", temper, "--write"])
                .args([&copy])
                .args(*unit)
                .args(["--seed", &(n * 3 + m).to_string()])
                .args(["--queue-depth", ["1", "32", "256"][(n + m) % 3]])
                .finish();
            let report = ended.expect_right(&file);
            assert!(number(&report, "rogue_attempts") > 0, "{ended:?}");
            assert!(number(&report, "faults_total") > 0, "{ended:?}");
            file.expect_same(&copy);
        }
    }
}

/// Tables are written back where walks read memory alone, and are as deep as was asked for.
#[test]
fn walks_and_levels_are_what_was_asked_for() {
    let file = TestFile::random(100_001, 42);
    for settings in [
        &["--iommu", "vtd", "--walks", "no-snoop"][..],
        &["--iommu", "vtd-scalable", "--walks", "no-snoop"],
        &["--iommu", "amd", "--walks", "no-snoop"],
        &["--iommu", "smmu", "--walks", "no-snoop"],
        &[
            "--iommu", "smmu", "--walks", "no-snoop", "--stage", "second",
        ],
        &["--iommu", "amd", "--table-levels", "6"],
        &["--iommu", "smmu", "--table-levels", "3"],
        &["--iommu", "riscv", "--table-levels", "5"],
        &[
            "--iommu",
            "riscv",
            "--table-levels",
            "3",
            "--stage",
            "second",
        ],
        &["--iommu", "virtio", "--table-levels", "3"],
    ] {
        let ended = Program::reads(&file.path)
            .args(["--json", "--rogue"])
            .args(settings)
            .finish();
        let report = ended.expect_right(&file);
        assert!(number(&report, "faults_total") > 0, "{ended:?}");
    }
}

/// The disk does not see the CPU's caches: what was not synced would be wrong, and all of it is counted.
#[test]
fn where_devices_do_not_snoop_every_byte_is_synced() {
    let file = TestFile::random(300_007, 44);
    for unit in UNITS.iter().chain([&&["--iommu", "none"][..]]) {
        for temper in TEMPERS {
            let copy = file.beside("copy");
            let ended = Program::reads(&file.path)
                .args(["--json", "--non-coherent", "--temper", temper, "--write"])
                .args([&copy])
                .args(*unit)
                .finish();
            let report = ended.expect_clean(&file);
            file.expect_same(&copy);
            assert!(
                number(&report, "cleaned_bytes") >= file.len_bytes,
                "{ended:?}"
            );
            assert!(
                number(&report, "invalidated_bytes") >= file.len_bytes,
                "{ended:?}"
            );
            assert!(
                number(&report["caches"], "cleaned_dirty_lines") > 0,
                "{ended:?}"
            );
        }
    }
    let snooping = Program::reads(&file.path).args(["--json"]).finish();
    let report = snooping.expect_clean(&file);
    assert_eq!(report["caches"], serde_json::Value::Null);
    assert_eq!(number(&report, "cleaned_bytes"), 0);
}

/// Memory lies beyond what the disk drives: only what translates can lend it some.
#[test]
fn a_disk_with_few_address_lines_is_served_by_every_unit() {
    let file = TestFile::random(200_001, 43);
    for unit in UNITS {
        let ended = Program::reads(&file.path)
            .args(["--json", "--address-bits", "28"])
            .args(unit)
            .finish();
        ended.expect_clean(&file);
    }
}

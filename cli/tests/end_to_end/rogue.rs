//! A disk that attacks, and one that lies: the one is stopped, the other found out.

use crate::files::TestFile;
use crate::program::Program;
use crate::report::number;

/// The kernel's name for the first disk.
const DISK: &str = "0000:01:00.0";

#[test]
fn thirty_rogue_runs_end_right_and_every_attempt_fails() {
    let file = TestFile::random(1_000_001, 30);
    let depths = ["1", "2", "32", "256"];
    for run in 0..30 {
        let seed = (run * 7919).to_string();
        let temper = ["keep", "forget", "random"][run % 3];
        let ended = Program::reads(&file.path)
            .args(["--rogue", "--json", "--temper", temper, "--seed", &seed])
            .args(["--queue-depth", depths[run % 4]])
            .args(["--queues", ["1", "4"][run % 2]])
            .finish();
        let report = ended.expect_right(&file);
        assert!(number(&report, "rogue_attempts") > 0, "{ended:?}");
        assert!(number(&report, "faults_total") > 0, "{ended:?}");
        let faults = report["faults"].as_array().expect("an array");
        assert_eq!(faults.len(), 1, "one requester, one first fault: {ended:?}");
        let fault = &faults[0];
        assert_eq!(fault["requester"], DISK);
        let address = fault["address"].as_str().expect("text");
        assert!(address.starts_with("0x"), "{ended:?}");
        assert!(
            fault["access"] == "read" || fault["access"] == "write",
            "{ended:?}"
        );
        assert!(!fault["reason"].as_str().expect("text").is_empty());
    }
}

#[test]
fn a_rogue_disk_is_stopped_whatever_the_tables_look_like() {
    let file = TestFile::random(300_000, 31);
    for settings in [
        &["--walks", "no-snoop", "--table-levels", "3"][..],
        &["--table-levels", "5", "--ram", "64G"],
        &["--address-bits", "28"],
        &["--address-bits", "40", "--completion", "polling"],
        &["--ram", "64M"],
    ] {
        let ended = Program::reads(&file.path)
            .args(["--rogue", "--json"])
            .args(settings)
            .finish();
        let report = ended.expect_right(&file);
        assert!(number(&report, "rogue_attempts") > 0, "{ended:?}");
        assert!(number(&report, "faults_total") > 0, "{ended:?}");
    }
}

#[test]
fn a_rogue_disk_cannot_spoil_a_copy() {
    let file = TestFile::random(2_000_001, 32);
    let copy = file.beside("copy");
    Program::reads(&file.path)
        .args(["--rogue", "--json", "--write"])
        .args([&copy])
        .finish()
        .expect_right(&file);
    file.expect_same(&copy);
}

#[test]
fn people_are_told_of_the_attempts_and_the_first_fault() {
    let file = TestFile::random(100_000, 33);
    let ended = Program::reads(&file.path).args(["--rogue"]).finish();
    ended.expect_status(0);
    let line = |start: &str| {
        let mut lines = ended.stdout.lines();
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start:?}: {ended:?}"))
    };
    assert!(
        line("rogue disk").ends_with(" 0 reached memory"),
        "{ended:?}"
    );
    assert!(
        ended
            .stdout
            .lines()
            .any(|line| line.contains("first of its requester") && line.contains(DISK))
    );
}

#[test]
fn a_rogue_disk_without_a_strict_iommu_is_refused() {
    let file = TestFile::random(1000, 34);
    for unprotected in [["--iommu", "none"], ["--policy", "identity"]] {
        let program = Program::reads(&file.path)
            .args(["--rogue"])
            .args(unprotected);
        program
            .finish()
            .expect_refused(&["--rogue", "--iommu vtd", "--policy strict"]);
    }
}

#[test]
fn a_single_flipped_bit_is_found_out() {
    let file = TestFile::random(1_000_003, 35);
    for byte in [0, 511, 512, 500_000, 1_000_002] {
        for json in [&["--json"][..], &[]] {
            let ended = Program::reads(&file.path)
                .args(["--flip-bit-of-byte", &byte.to_string()])
                .args(json)
                .finish();
            ended.expect_status(1);
            if json.is_empty() {
                assert!(ended.stdout.ends_with("FAILED\n"), "{ended:?}");
                continue;
            }
            let report = ended.report();
            assert_eq!(report["verified"], false, "{ended:?}");
            assert_eq!(report["file_sha256"], file.sha256, "{ended:?}");
            assert_ne!(report["sha256"], file.sha256, "{ended:?}");
            assert_eq!(report["frames_leaked"], 0, "{ended:?}");
        }
    }
}

//! The report for programs: one object, and nothing else.

use serde_json::Value;

use crate::files::TestFile;
use crate::program::Program;

/// What a value may be.
type Is = fn(&Value) -> bool;

const HASH: Is = |value| {
    let text = value.as_str().unwrap_or_default();
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
};

const KEYS: [(&str, Is); 13] = [
    ("bytes", Value::is_u64),
    ("sha256", HASH),
    ("file_sha256", HASH),
    ("verified", Value::is_boolean),
    ("seconds", Value::is_f64),
    ("maps", Value::is_u64),
    ("unmaps", Value::is_u64),
    ("live_mappings", Value::is_u64),
    ("invalidations", Value::is_u64),
    ("faults", Value::is_array),
    ("faults_total", Value::is_u64),
    ("rogue_attempts", Value::is_u64),
    ("frames_leaked", Value::is_u64),
];

#[track_caller]
fn check(args: &[&str], status: i32) -> Value {
    let file = TestFile::random(100_001, 1);
    let ended = Program::reads(&file.path)
        .args(["--json"])
        .args(args)
        .finish();
    ended.expect_status(status);
    let report = ended.report();
    for (key, is) in KEYS {
        assert!(is(&report[key]), "{key} of {args:?} in {report:#}");
    }
    report
}

#[test]
fn the_report_is_one_object_with_every_key_of_its_type() {
    check(&[], 0);
    check(&["--iommu", "none"], 0);
    check(&["--policy", "identity"], 0);
}

#[test]
fn a_job_that_went_wrong_is_reported_too() {
    let report = check(&["--flip-bit-of-byte", "0"], 1);
    assert_eq!(report["verified"], false);
}

#[test]
fn faults_are_objects_that_say_who_where_how_and_why() {
    let report = check(&["--rogue"], 0);
    let faults = report["faults"].as_array().expect("an array");
    assert!(!faults.is_empty());
    for fault in faults {
        for key in ["requester", "address", "access", "reason"] {
            assert!(fault[key].is_string(), "{key} in {report:#}");
        }
    }
}

#[test]
fn without_an_iommu_nothing_is_invalidated() {
    let report = check(&["--iommu", "none"], 0);
    assert_eq!(report["invalidations"], 0);
}

#[test]
fn settings_come_before_or_after_the_file() {
    let file = TestFile::random(1, 1);
    Program::alone()
        .args(["run", "--json"])
        .args([&file.path])
        .finish()
        .expect_clean(&file);
}

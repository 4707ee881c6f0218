//! The program's memory does not grow with the file.

use std::fs;

use crate::files::TestFile;
use crate::program::Program;

/// What two runs may differ by.
const TOLERANCE_BYTES: u64 = 16 << 20;

/// The most memory a run had resident (`VmHWM`), looked at until its end.
fn peak_bytes(args: &[&str], len_bytes: u64) -> u64 {
    let file = TestFile::sparse(len_bytes);
    let mut running = Program::reads(&file.path)
        .args(["--json"])
        .args(args)
        .start();
    let status = running.proc_dir().join("status");
    let mut peak_kib = 0;
    while running.poll().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak_kib = peak_kib.max(number.unwrap_or(0));
    }
    let ended = running.finish();
    ended.expect_status(0);
    assert_eq!(ended.report()["bytes"], len_bytes);
    assert!(peak_kib > 0, "nothing was seen of {ended:?}");
    peak_kib << 10
}

#[test]
#[cfg_attr(debug_assertions, ignore = "3 GiB take long without optimisation")]
fn three_gibibytes_take_no_more_memory_than_64_mebibytes() {
    for args in [&[][..], &["--queue-depth", "256", "--queues", "4"]] {
        let (small, large) = (peak_bytes(args, 64 << 20), peak_bytes(args, 3 << 30));
        let most = small + TOLERANCE_BYTES;
        assert!(large <= most, "{large} bytes instead of {small}, {args:?}");
    }
}

//! Broken promises stop the process: each case runs in a process of its own, which must not survive it.

#[allow(dead_code, reason = "this test looks at no events")]
mod fake_board;

use std::process::Command;

use dmamap::platform::{FrameRequest, Platform};
use fake_board::FakeBoard;
use hosted::Hosted;

/// Names the case in the child's environment.
const CASE: &str = "FATAL_CASE";

/// Runs `case` in a child that is this very test, and expects `message` as its last words.
fn check(test: &str, message: &str, case: impl FnOnce(Hosted)) {
    if std::env::var_os(CASE).is_some() {
        case(Hosted::boot(FakeBoard::new()).unwrap());
        return;
    }
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args([test, "--exact"])
        .env(CASE, test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "it went on");
    assert!(said.contains(message), "it said: {said}");
}

#[test]
fn freeing_frames_twice_stops_the_kernel() {
    check(
        "freeing_frames_twice_stops_the_kernel",
        "freed twice",
        |kernel| {
            let frames = kernel.allocate_frames(FrameRequest::new(2)).unwrap();
            // SAFETY: the second call breaks the contract, which is what must be noticed.
            unsafe {
                kernel.free_frames(frames);
                kernel.free_frames(frames);
            }
        },
    );
}

#[test]
fn freeing_part_of_a_loan_stops_the_kernel() {
    check(
        "freeing_part_of_a_loan_stops_the_kernel",
        "they go back as one range",
        |kernel| {
            let frames = kernel.allocate_frames(FrameRequest::new(2)).unwrap();
            // SAFETY: breaks the contract, which is what must be noticed.
            unsafe { kernel.free_frames(frames.slice(4096, 4096).unwrap()) };
        },
    );
}

#[test]
fn freeing_an_interrupt_twice_stops_the_kernel() {
    check(
        "freeing_an_interrupt_twice_stops_the_kernel",
        "is not lent",
        |kernel| {
            let interrupt = kernel.allocate_interrupt(None).unwrap();
            kernel.free_interrupt(interrupt);
            kernel.free_interrupt(interrupt);
        },
    );
}

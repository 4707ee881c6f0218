//! A process that boots many kernels, as a test suite does, does not grow.

#[allow(dead_code, reason = "this test looks at no events")]
mod fake_board;

use std::fs;

use dmamap::platform::{FrameRequest, Platform};
use fake_board::FakeBoard;
use hosted::Hosted;

/// One number of `/proc/self/status`, in KiB.
fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Boots a kernel, uses and loses 2 MiB, and shuts it down.
fn one_kernel() {
    let kernel = Hosted::boot(FakeBoard::new()).unwrap();
    let frames = kernel.allocate_frames(FrameRequest::new(512)).unwrap();
    // SAFETY: the frames are lent to this test.
    unsafe {
        kernel
            .frame_pointer(frames.start())
            .write_bytes(1, 512 * 4096)
    };
    kernel.call_at(0, std::sync::Arc::new(|| {}));
    // SAFETY: nobody looks at what was lost.
    unsafe { kernel.power_off() };
}

#[test]
fn memory_and_files_go_back_at_shutdown() {
    one_kernel();
    let (before_kib, files) = (status_kib("VmRSS"), open_files());
    for _ in 0..200 {
        one_kernel();
    }
    let grown_kib = status_kib("VmRSS").saturating_sub(before_kib);
    assert!(grown_kib < 16 << 10, "200 kernels left {grown_kib} KiB");
    assert!(open_files() <= files, "file descriptors were left open");
}

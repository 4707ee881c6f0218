//! Cache maintenance: X, page by page, to Y, line by line, to the hardware.

use std::ptr::NonNull;

use board::hardware::CacheOperation;
use dmamap::addr::{FRAME_BYTES, VirtAddr};

use crate::kernel::Kernel;

/// Applies `operation` to the `len_bytes` bytes at `start`; the hardware knows what lines they are in. Memory that is not
/// RAM has no line a device could see differently and is passed over.
pub(crate) fn maintain(
    kernel: &Kernel,
    operation: CacheOperation,
    start: NonNull<u8>,
    len_bytes: usize,
) {
    let Some(hardware) = kernel.hardware() else {
        return;
    };
    let start = start.addr().get() as u64;
    let end = start + len_bytes as u64;
    let mut at = start;
    while at < end {
        let piece = (FRAME_BYTES - at % FRAME_BYTES).min(end - at);
        if let Some(phys) = kernel.phys_of(VirtAddr::new(at)) {
            hardware.maintain_cache(operation, phys.as_u64(), piece);
        }
        at += piece;
    }
}

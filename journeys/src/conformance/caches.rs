//! Cache maintenance, as the CPU that does it sees it.

use dmamap::addr::FRAME_BYTES;
use dmamap::platform::{FrameRequest, Platform};

use super::Violation;

/// An operation on the whole frame, and what it is called.
type Operation<P> = (&'static str, fn(P, core::ptr::NonNull<u8>, usize));

pub(super) fn check<P: Platform>(platform: P) -> Result<(), Violation> {
    let Ok(frame) = platform.allocate_frames(FrameRequest::new(1)) else {
        return Err(Violation::TooLittle { what: "frames" });
    };
    let start = platform.frame_pointer(frame.start());
    let len = FRAME_BYTES as usize;
    // What was written back may be dropped: memory has it.
    let operations: [Operation<P>; 2] = [
        ("clean_cache", |platform, start, len| {
            platform.clean_cache(start, len);
        }),
        (
            "invalidate_cache after clean_cache",
            |platform, start, len| {
                platform.clean_cache(start, len);
                platform.invalidate_cache(start, len);
            },
        ),
    ];
    let mut outcome = Ok(());
    for (round, (operation, act)) in operations.into_iter().enumerate() {
        let value = |offset: usize| (offset as u8).wrapping_mul(31) ^ round as u8;
        for offset in 0..len {
            // SAFETY: the frame is lent to us, and `offset` inside it.
            unsafe { start.add(offset).write_volatile(value(offset)) };
        }
        act(platform, start, len);
        // SAFETY: as above.
        let lost = |&offset: &usize| unsafe { start.add(offset).read_volatile() } != value(offset);
        if let Some(offset) = (0..len).find(lost) {
            outcome = outcome.and(Err(Violation::CacheLosesWrites { operation, offset }));
        }
    }
    platform.dma_wmb();
    platform.dma_rmb();
    platform.dma_mb();
    // SAFETY: lent above, and nothing refers to it any more.
    unsafe { platform.free_frames(frame) };
    outcome
}

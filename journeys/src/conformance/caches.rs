//! Cache maintenance, as the CPU that does it sees it.

use core::ops::RangeInclusive;

use dmamap::addr::{FRAME_BYTES, PhysRange};
use dmamap::platform::{FrameRequest, MemoryAttribute, Platform};

use super::Violation;

/// An operation on the whole frame, and what it is called.
type Operation<P> = (&'static str, fn(P, core::ptr::NonNull<u8>, usize));

/// Bytes that the longest cache line of some machine has.
const LINES: RangeInclusive<u64> = 16..=FRAME_BYTES;

pub(super) fn check<P: Platform>(platform: P) -> Result<(), Violation> {
    let line_bytes = platform.cache_line_bytes();
    if !line_bytes.is_power_of_two() || !LINES.contains(&line_bytes) {
        return Err(Violation::CacheLine { line_bytes });
    }
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
    let outcome = outcome.and_then(|()| past_the_caches(platform, frame));
    platform.dma_wmb();
    platform.dma_rmb();
    platform.dma_mb();
    // SAFETY: lent above, and nothing refers to it any more.
    unsafe { platform.free_frames(frame) };
    outcome
}

/// What is written through the direct map and cleaned is read past the caches, and the other way round.
fn past_the_caches<P: Platform>(platform: P, frame: PhysRange) -> Result<(), Violation> {
    let cached = platform.frame_pointer(frame.start());
    // The last words stay out: what a wrong mapping would reach there is not ours.
    let len = FRAME_BYTES as usize - 64;
    let value = |offset: usize, round: u8| (offset as u8).wrapping_mul(73) ^ round;
    for offset in 0..len {
        // SAFETY: the frame is lent to us, and `offset` inside it.
        unsafe { cached.add(offset).write_volatile(value(offset, 1)) };
    }
    platform.clean_cache(cached, FRAME_BYTES as usize);
    platform.invalidate_cache(cached, FRAME_BYTES as usize);
    // SAFETY: the frame is lent to us until the mapping is undone, its lines were cleaned and invalidated just now, and
    // nobody uses the direct map in between.
    let uncached = unsafe { platform.map_frames(frame, MemoryAttribute::Uncached) };
    let uncached = uncached.map_err(Violation::Uncached)?;
    let differs = (0..len).find(|&offset| {
        // SAFETY: the mapping is of the whole frame.
        unsafe {
            let seen = uncached.add(offset).read_volatile();
            uncached.add(offset).write_volatile(value(offset, 2));
            seen != value(offset, 1)
        }
    });
    // SAFETY: mapped above, and no pointer into it is used any more.
    unsafe { platform.unmap_frames(uncached, FRAME_BYTES) };
    platform.invalidate_cache(cached, FRAME_BYTES as usize);
    // SAFETY: as above.
    let lost = |&offset: &usize| unsafe { cached.add(offset).read_volatile() } != value(offset, 2);
    match differs.or_else(|| (0..len).find(lost)) {
        Some(offset) => Err(Violation::OtherMemory { offset }),
        None => Ok(()),
    }
}

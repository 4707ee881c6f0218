//! The frame allocator: who holds which physical frames.
//!
//! [`buddy`] chooses, [`poison`] marks what is free, and [`Frames`] counts and refuses what its caller may
//! not do. A frame that is given back is first cleaned up by its caller (poisoned, and announced to the
//! hardware) and only then [released](Frames::release) to be lent again.

mod buddy;
mod poison;

use std::ops::Range;

use dmamap::addr::{FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use dmamap::platform::{FrameRequest, OutOfFrames};
use parking_lot::Mutex;

use buddy::{Buddy, FreeMistake};
pub use poison::POISON;
pub(crate) use poison::PoisonMap;

/// How many frames there are and who has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames the allocator owns, lent or free.
    pub total: u64,
    /// Frames lent and not given back.
    pub in_use: u64,
    /// The most frames that were lent at one time.
    pub peak: u64,
    /// Requests granted since boot.
    pub granted: u64,
    /// Requests refused since boot.
    pub refused: u64,
    /// Free frames that somebody wrote to, noticed when they were lent again: a device that still reached
    /// memory its driver had given back, or a CPU that kept a pointer.
    pub disturbed: u64,
}

/// Frames were given back that were not lent like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreeError {
    /// Freed twice, or never lent.
    #[error("frames {0} are not lent: freed twice, or never allocated")]
    NotLent(PhysRange),
    /// Frames go back as one range, as they were lent.
    #[error("frames {freed} were lent as {lent}: they go back as one range")]
    OtherRange {
        /// What was given back.
        freed: PhysRange,
        /// What was lent there.
        lent: PhysRange,
    },
    /// Not whole frames.
    #[error("{0} are not whole frames")]
    NotFrames(PhysRange),
}

pub(crate) struct Frames {
    state: Mutex<State>,
}

struct State {
    buddy: Buddy,
    counts: FrameCounts,
    /// Nothing is lent any more.
    is_closed: bool,
}

impl Frames {
    /// An allocator for the whole frames of `usable`: disjoint ranges of physical addresses.
    ///
    /// Frame 0 is never lent: physical 0 stands for "none" in too much hardware and firmware.
    pub(crate) fn new(usable: &[Range<u64>]) -> Self {
        let whole = |range: &Range<u64>| {
            let first = range.start.div_ceil(1 << FRAME_SIZE_LOG2).max(1);
            first..range.end >> FRAME_SIZE_LOG2
        };
        let buddy = Buddy::new(usable.iter().map(whole).filter(|frames| !frames.is_empty()));
        let counts = FrameCounts {
            total: buddy.free_frames(),
            ..FrameCounts::default()
        };
        Self {
            state: Mutex::new(State {
                buddy,
                counts,
                is_closed: false,
            }),
        }
    }

    pub(crate) fn counts(&self) -> FrameCounts {
        self.state.lock().counts
    }

    /// Lends frames as [`Platform::allocate_frames`](dmamap::platform::Platform::allocate_frames) promises.
    pub(crate) fn lend(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        let align_order = request.align_log2.saturating_sub(FRAME_SIZE_LOG2);
        // The frame that holds the last byte allowed counts only if all of it is allowed.
        let last =
            (request.last.as_u64().checked_add(1)).map_or(u64::MAX, |end| end >> FRAME_SIZE_LOG2);
        let mut state = self.state.lock();
        let granted = last
            .checked_sub(1)
            .filter(|_| !state.is_closed)
            .and_then(|last| state.buddy.lend(request.count as u64, align_order, last))
            .and_then(|start| frame_range(start, request.count as u64));
        let counts = &mut state.counts;
        match granted {
            Some(range) => {
                counts.granted += 1;
                counts.in_use += request.count as u64;
                counts.peak = counts.peak.max(counts.in_use);
                Ok(range)
            }
            None => {
                counts.refused += 1;
                Err(OutOfFrames(request))
            }
        }
    }

    /// Ends a loan. The frames stay unavailable until they are [released](Self::release).
    pub(crate) fn take_back(&self, range: PhysRange) -> Result<(), FreeError> {
        let whole =
            (range.start().as_u64() | range.len_bytes()).trailing_zeros() >= FRAME_SIZE_LOG2;
        if !whole || range.is_empty() {
            return Err(FreeError::NotFrames(range));
        }
        let (start, count) = frames_of(range);
        let mistake = match self.state.lock().buddy.take_back(start, count) {
            Ok(()) => return Ok(()),
            Err(mistake) => mistake,
        };
        let lent = match mistake {
            FreeMistake::NotLent => None,
            FreeMistake::Length(len) => frame_range(start, len),
            FreeMistake::Inside(first, len) => frame_range(first, len),
        };
        Err(
            lent.map_or(FreeError::NotLent(range), |lent| FreeError::OtherRange {
                freed: range,
                lent,
            }),
        )
    }

    /// Makes frames that were [taken back](Self::take_back) free.
    pub(crate) fn release(&self, range: PhysRange) {
        let (start, count) = frames_of(range);
        let mut state = self.state.lock();
        state.buddy.release(start, count);
        state.counts.in_use -= count;
    }

    /// Lends nothing from now on; returns the physical addresses that are lent, ascending.
    pub(crate) fn close(&self) -> Vec<Range<u64>> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let phys = |frame: u64| frame << FRAME_SIZE_LOG2;
        let lent = state.buddy.lent();
        lent.map(|run| phys(run.start)..phys(run.end)).collect()
    }

    /// Counts free frames that were found written to.
    pub(crate) fn note_disturbed(&self, frames: u64) {
        self.state.lock().counts.disturbed += frames;
    }
}

fn frames_of(range: PhysRange) -> (u64, u64) {
    (
        range.start().as_u64() >> FRAME_SIZE_LOG2,
        range.len_bytes() >> FRAME_SIZE_LOG2,
    )
}

fn frame_range(start: u64, count: u64) -> Option<PhysRange> {
    PhysRange::new(
        PhysAddr::new(start << FRAME_SIZE_LOG2),
        count << FRAME_SIZE_LOG2,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phys(start: u64, len_bytes: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
    }

    fn request(count: usize, last: u64) -> FrameRequest {
        FrameRequest {
            last: PhysAddr::new(last),
            ..FrameRequest::new(count)
        }
    }

    #[test]
    fn the_last_byte_is_within_the_limit() {
        let frames = Frames::new(&[0x8000..0x1_0000]);
        let check = |last: u64, expected: Option<u64>| {
            let lent = frames.lend(request(1, last));
            assert_eq!(
                lent.ok().map(|range| range.start().as_u64()),
                expected,
                "limit {last:#x}"
            );
        };
        check(u64::MAX, Some(0xf000));
        check(0xcfff, Some(0xc000));
        check(0xcffe, Some(0xb000));
        check(0x8ffe, None);
        check(0, None);
    }

    #[test]
    fn counts_follow_loans() {
        let frames = Frames::new(&[0x1000..0x9000]);
        let lent = frames.lend(request(3, u64::MAX)).unwrap();
        let refused = request(6, u64::MAX);
        assert_eq!(frames.lend(refused), Err(OutOfFrames(refused)));
        frames.take_back(lent).unwrap();
        assert_eq!(frames.counts().in_use, 3, "not free before it is released");
        frames.release(lent);
        let expected = FrameCounts {
            total: 8,
            in_use: 0,
            peak: 3,
            granted: 1,
            refused: 1,
            disturbed: 0,
        };
        assert_eq!(frames.counts(), expected);
    }

    #[test]
    fn mistakes_name_what_was_lent() {
        let frames = Frames::new(&[0x1000..0x9000]);
        let lent = frames.lend(request(4, u64::MAX)).unwrap();
        let start = lent.start().as_u64();
        let part = phys(start + 0x1000, 0x1000);
        assert_eq!(
            frames.take_back(part),
            Err(FreeError::OtherRange { freed: part, lent })
        );
        let odd = phys(start, 0x800);
        assert_eq!(frames.take_back(odd), Err(FreeError::NotFrames(odd)));
        frames.take_back(lent).unwrap();
        assert_eq!(frames.take_back(lent), Err(FreeError::NotLent(lent)));
    }

    #[test]
    fn partial_frames_at_the_edges_are_left_out() {
        let frames = Frames::new(&[0x1800..0x3800]);
        assert_eq!(frames.counts().total, 1);
        assert_eq!(frames.lend(request(1, u64::MAX)), Ok(phys(0x2000, 0x1000)));
    }
}

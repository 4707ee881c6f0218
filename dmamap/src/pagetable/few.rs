//! Memory in a few pieces, gone through once: who maps it has all of them at hand then, and asks nobody again.

use super::PhysList;
use crate::addr::{BusAddr, BusRange, FRAME_BYTES, PhysAddr, PhysRange};

/// The most pieces that are few.
const MOST_PIECES: usize = 16;

/// The most frames that they touch.
pub(crate) const MOST_FRAMES: usize = 64;

/// The whole frames that a few pieces touch, each piece its own, in order; once they are [those](Self::become_of) of some memory, at least
/// one, and no piece without any.
pub(crate) struct FewFrames {
    runs: [PhysRange; MOST_PIECES],
    pieces: usize,
    frames: usize,
    /// The last byte of those that lie highest.
    last: PhysAddr,
    /// Bytes of the first frame before the first piece.
    head: u64,
    /// Bytes of the last frame after the last piece.
    tail: u64,
}

impl FewFrames {
    /// None yet.
    pub(crate) const NONE: Self = Self {
        runs: [PhysRange::of_existing(PhysAddr::new(0), 0); MOST_PIECES],
        pieces: 0,
        frames: 0,
        last: PhysAddr::new(0),
        head: 0,
        tail: 0,
    };

    /// Becomes those of `memory`, where it stands; whether it does: not where there is none, no byte in a piece, or too much to be a few.
    #[inline]
    pub(crate) fn become_of<L: PhysList + ?Sized>(&mut self, memory: &mut L) -> bool {
        const MOST_BYTES: u64 = MOST_FRAMES as u64 * FRAME_BYTES;
        let (mut pieces, mut whole, mut last) = (0, 0, PhysAddr::new(0));
        let (mut head, mut tail) = (0, 0);
        memory.restart();
        while let Some(piece) = memory.next_range() {
            let (start, len_bytes) = (piece.start().as_u64(), piece.len_bytes());
            let (Some(run), true) = (
                self.runs.get_mut(pieces),
                len_bytes.wrapping_sub(1) < MOST_BYTES,
            ) else {
                return false;
            };
            tail = 0;
            *run = piece;
            if (start | len_bytes) % FRAME_BYTES != 0 {
                let before = start % FRAME_BYTES;
                let bytes = (before + len_bytes).next_multiple_of(FRAME_BYTES);
                let Ok(frames) = PhysRange::new(PhysAddr::new(start - before), bytes) else {
                    return false;
                };
                *run = frames;
                tail = bytes - before - len_bytes;
                if pieces == 0 {
                    head = before;
                }
            }
            // Of no more pieces than there are, each a little longer than the most at most.
            whole += run.len_bytes();
            last = last.max(run.last());
            pieces += 1;
        }
        let frames = (whole / FRAME_BYTES) as usize;
        (self.pieces, self.frames, self.last) = (pieces, frames, last);
        (self.head, self.tail) = (head, tail);
        (1..=MOST_FRAMES).contains(&frames)
    }

    /// The frames of each piece.
    #[inline]
    pub(crate) fn runs(&self) -> &[PhysRange] {
        &self.runs[..self.pieces.min(MOST_PIECES)]
    }

    /// How many frames they are.
    #[inline]
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// The last byte of those that lie highest.
    #[inline]
    pub(crate) fn last(&self) -> PhysAddr {
        self.last
    }

    /// From the first byte of the first piece to the last of the last, where the frames lie side by side from `bus` on.
    #[inline]
    pub(crate) fn range(&self, bus: BusAddr) -> BusRange {
        let first = BusAddr::new(bus.as_u64() + self.head);
        let whole = self.frames as u64 * FRAME_BYTES;
        BusRange::of_existing(first, whole - self.head - self.tail)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::pagetable::Replay;

    fn range(start: u64, len_bytes: u64) -> PhysRange {
        PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
    }

    fn few(pieces: &[PhysRange]) -> Option<FewFrames> {
        let mut few = FewFrames::NONE;
        let is_few = few.become_of(&mut Replay::new(pieces.iter().copied()));
        is_few.then_some(few)
    }

    #[test]
    fn each_piece_has_the_frames_that_it_touches() {
        let pieces = [
            range(0x1800, 0x800),
            range(0x9000, 0x3000),
            range(0x4ff0, 0x20),
        ];
        let few = few(&pieces).unwrap();
        let frames = [
            range(0x1000, 0x1000),
            range(0x9000, 0x3000),
            range(0x4000, 0x2000),
        ];
        assert_eq!(few.runs(), frames);
        assert_eq!(few.frames(), 6);
        assert_eq!(few.last(), PhysAddr::new(0xbfff));
        let bus = few.range(BusAddr::new(0x10_0000));
        assert_eq!(bus.start(), BusAddr::new(0x10_0800));
        assert_eq!(bus.last(), BusAddr::new(0x10_500f));
    }

    #[test]
    fn what_is_not_a_few_is_left_to_others() {
        let frame = |n: u64| range(n * 0x2000, 0x1000);
        let frames = |n| (0..n).map(frame).collect::<Vec<_>>();
        assert!(few(&[]).is_none());
        assert!(few(&[frame(1), range(0x5000, 0), frame(3)]).is_none());
        assert!(few(&frames(16)).is_some());
        assert!(few(&frames(17)).is_none(), "too many pieces");
        let most = MOST_FRAMES as u64 * FRAME_BYTES;
        assert!(few(&[range(0, most)]).is_some());
        assert!(few(&[range(0, most - 0x1000), frame(99)]).is_some());
        assert!(few(&[range(0, most), frame(99)]).is_none(), "too long");
        assert!(few(&[range(0x800, most)]).is_none(), "in one frame more");
        assert!(few(&[range(0, u64::MAX)]).is_none());
        // The last frame there is.
        assert!(few(&[range(u64::MAX - 0x7ff, 0x800)]).is_some());
    }
}

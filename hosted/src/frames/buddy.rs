//! Which frames are free: a binary buddy allocator over frame numbers, which touches no memory.
//!
//! Free blocks are powers of two of frames, aligned to their size, kept in one ordered set per size and
//! zone. A freed block joins its buddy as long as that is free too. Requests that are not a power of two
//! give their tail back at once, so that what is lent is exactly what was asked for.
//!
//! Memory is lent from the highest zone a request's limit allows: low memory is left to those who can reach
//! no other. Within the zone it comes from the smallest block that will do, the highest of several: fragments,
//! which are what was freed before, are lent again before memory that nobody has touched yet is broken up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// log2 of the largest block, in frames: 1 GiB.
pub(super) const MAX_ORDER: u32 = 18;

/// First frames of the zones, ascending: what 24 address lines reach, what 32 reach, and the rest.
const ZONE_FLOORS: [u64; 3] = [0, 1 << 12, 1 << 20];

/// A range that was given back is not one that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeMistake {
    /// No lent range starts there: freed twice, or never lent.
    NotLent,
    /// The lent range that starts there has another length, in frames.
    Length(u64),
    /// It lies inside a lent range, whose first frame and length these are.
    Inside(u64, u64),
}

#[derive(Default)]
struct Zone {
    free: [BTreeSet<u64>; MAX_ORDER as usize + 1],
}

/// Free blocks and lent runs.
#[derive(Default)]
pub(super) struct Buddy {
    zones: [Zone; ZONE_FLOORS.len()],
    lent: BTreeMap<u64, u64>,
    free_frames: u64,
}

impl Buddy {
    /// An allocator for the frames of these ranges of frame numbers, which do not overlap.
    pub(super) fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut buddy = Self::default();
        for range in ranges {
            buddy.insert_run(range.start, range.end.saturating_sub(range.start));
        }
        buddy
    }

    /// Number of free frames.
    pub(super) fn free_frames(&self) -> u64 {
        self.free_frames
    }

    /// The runs of frames that are lent, ascending.
    pub(super) fn lent(&self) -> impl Iterator<Item = Range<u64>> {
        self.lent
            .iter()
            .map(|(&start, &count)| start..start + count)
    }

    /// Lends `count` frames whose first is a multiple of `2^align_order` and whose last is at most `last`.
    pub(super) fn lend(&mut self, count: u64, align_order: u32, last: u64) -> Option<u64> {
        let order = order_for(count)?.max(align_order);
        if order > MAX_ORDER {
            return None;
        }
        // The first frame may be at most this for the last to be within the limit.
        let limit = last.checked_sub(count - 1)?;
        let start = self.take_block(order, limit)?;
        self.free_frames -= 1 << order;
        self.insert_run(start + count, (1 << order) - count);
        self.lent.insert(start, count);
        Some(start)
    }

    /// Ends a loan without making the frames free yet: its owner may still have to clean up.
    pub(super) fn take_back(&mut self, start: u64, count: u64) -> Result<(), FreeMistake> {
        match self.lent.range(..=start).next_back() {
            Some((&first, &len)) if first == start && len == count => {
                self.lent.remove(&start);
                Ok(())
            }
            Some((&first, &len)) if first == start => Err(FreeMistake::Length(len)),
            Some((&first, &len)) if start - first < len => Err(FreeMistake::Inside(first, len)),
            _ => Err(FreeMistake::NotLent),
        }
    }

    /// Makes frames that were [taken back](Self::take_back) free.
    pub(super) fn release(&mut self, start: u64, count: u64) {
        self.insert_run(start, count);
    }

    /// Removes a block of `order` that starts at or below `limit` and puts what is left of it back.
    fn take_block(&mut self, order: u32, limit: u64) -> Option<u64> {
        let zones = ZONE_FLOORS.iter().zip(&mut self.zones).rev();
        for (_, zone) in zones.filter(|(floor, _)| **floor <= limit) {
            for found in order..=MAX_ORDER {
                let Some(&block) = zone.free[found as usize].range(..=limit).next_back() else {
                    continue;
                };
                zone.free[found as usize].remove(&block);
                return Some(zone.split(block, found, order, limit));
            }
        }
        None
    }

    /// Frees a run of any length and alignment as the largest aligned blocks it consists of.
    fn insert_run(&mut self, mut start: u64, mut count: u64) {
        self.free_frames += count;
        while count > 0 {
            let order = start.trailing_zeros().min(count.ilog2()).min(MAX_ORDER);
            zone_of(&mut self.zones, start).insert(start, order);
            start += 1 << order;
            count -= 1 << order;
        }
    }
}

impl Zone {
    /// Halves a block down to `order`, keeping the highest part that starts at or below `limit`.
    fn split(&mut self, mut block: u64, from: u32, order: u32, limit: u64) -> u64 {
        for half in (order..from).rev() {
            let upper = block + (1 << half);
            if upper <= limit {
                self.free[half as usize].insert(block);
                block = upper;
            } else {
                self.free[half as usize].insert(upper);
            }
        }
        block
    }

    /// Adds a free block, joined with its buddy as often as that is free. Buddies of another zone are not
    /// in this zone's sets and so never joined.
    fn insert(&mut self, mut block: u64, mut order: u32) {
        while order < MAX_ORDER && self.free[order as usize].remove(&(block ^ (1 << order))) {
            block &= !(1 << order);
            order += 1;
        }
        self.free[order as usize].insert(block);
    }
}

fn zone_of(zones: &mut [Zone; ZONE_FLOORS.len()], frame: u64) -> &mut Zone {
    &mut zones[ZONE_FLOORS.partition_point(|floor| *floor <= frame) - 1]
}

/// The smallest order whose blocks hold `count` frames; `None` for no frames or too many.
fn order_for(count: u64) -> Option<u32> {
    (count != 0 && count <= 1 << MAX_ORDER).then(|| count.next_power_of_two().ilog2())
}

#[cfg(test)]
#[path = "buddy_tests.rs"]
mod tests;

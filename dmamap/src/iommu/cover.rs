//! The blocks that an invalidation names: aligned powers of two of pages that cover a range, for units that know no other
//! ranges (VT-d, AMD-Vi, RISC-V).
//!
//! A command costs more than what it makes a unit forget beside the range, which is looked up again when it is used, and
//! dropping a whole domain drops the way to everything too. So a range is named, in this order: by one block that is less than twice as
//! long; exactly; rounded to blocks so large that a batch has room for them. Addresses are chosen by size classes, so that
//! nearly every mapping is of the first kind, and nothing else is in its block.

use crate::addr::{BusRange, FRAME_SIZE_LOG2};
use crate::iommu::command_ring::{Batch, Command, Commands, MAX_BATCH};

/// One block of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Bus address of its first byte, a multiple of its length.
    pub(super) start: u64,
    /// Its length in pages, base-2 logarithm.
    pub(super) pages_log2: u32,
}

impl Block {
    /// The one block around `range` if it is less than twice as long, of at most `2^largest_log2` pages.
    #[inline]
    fn around(range: BusRange, largest_log2: u32) -> Option<Self> {
        let (first, last) = pages(range);
        let around_log2 = u64::BITS - (first ^ last).leading_zeros();
        let is_snug = around_log2 <= largest_log2 && 1 << around_log2 < 2 * (last - first + 1);
        is_snug.then_some(Self {
            start: first >> around_log2 << around_log2 << FRAME_SIZE_LOG2,
            pages_log2: around_log2,
        })
    }
}

/// The numbers of the first and the last page that `range` touches.
#[inline]
fn pages(range: BusRange) -> (u64, u64) {
    let first = range.start().as_u64() >> FRAME_SIZE_LOG2;
    let last = range.last().as_u64() >> FRAME_SIZE_LOG2;
    (first, last)
}

/// What names `range`: `one` for each block, of at most `2^largest_log2` pages; or `whole`, for everything, where that takes
/// more than a submission has room for.
#[inline]
pub(super) fn named(
    range: BusRange,
    largest_log2: u32,
    one: impl Fn(Block) -> Command,
    whole: impl Fn() -> Command,
) -> Commands {
    if let Some(block) = Block::around(range, largest_log2) {
        return Commands::One(one(block));
    }
    match batch(range, largest_log2, one) {
        Some(batch) => Commands::Several(batch),
        None => Commands::One(whole()),
    }
}

/// The commands that name `range`, where they are not too many.
#[inline(never)]
fn batch(range: BusRange, largest_log2: u32, one: impl Fn(Block) -> Command) -> Option<Batch> {
    let cover = Cover::new(range, largest_log2, MAX_BATCH)?;
    Some(cover.map(one).collect())
}

/// Blocks one behind the other, from the lowest address on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cover {
    page: u64,
    end: u64,
    largest_log2: u32,
}

impl Cover {
    /// Covers `range`, which [one block](Block::around) does not, by at most `most` of at most `2^largest_log2` pages each;
    /// `None` where that takes more.
    ///
    /// Each block begins at a multiple of its length, and so does every leaf: one in the range is wholly in one block if it is no
    /// longer than that, as VT-d 6.5.2.3 asks of invalidations of large pages.
    #[inline(never)]
    fn new(range: BusRange, largest_log2: u32, most: usize) -> Option<Self> {
        let (first, last) = pages(range);
        let rounded = |log2: u32| Self {
            page: first >> log2 << log2,
            end: ((last >> log2) + 1) << log2,
            largest_log2,
        };
        let fits = |cover: &Self| cover.clone().nth(most).is_none();
        (0..=largest_log2).map(rounded).find(fits)
    }
}

impl Iterator for Cover {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let left = self.end - self.page;
        let pages_log2 = self
            .page
            .trailing_zeros()
            .min(left.checked_ilog2()?)
            .min(self.largest_log2);
        let start = self.page << FRAME_SIZE_LOG2;
        self.page += 1 << pages_log2;
        Some(Block { start, pages_log2 })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::addr::BusAddr;

    fn range(first: u64, count: u64) -> BusRange {
        let start = BusAddr::new(first << FRAME_SIZE_LOG2);
        BusRange::new(start, count << FRAME_SIZE_LOG2).unwrap()
    }

    /// First page and length of each block.
    fn cover(first: u64, count: u64, largest_log2: u32, most: usize) -> Option<Vec<(u64, u64)>> {
        let range = range(first, count);
        let block = |block: Block| (block.start >> FRAME_SIZE_LOG2, 1 << block.pages_log2);
        match Block::around(range, largest_log2) {
            Some(around) => Some(vec![block(around)]),
            None => Some(Cover::new(range, largest_log2, most)?.map(block).collect()),
        }
    }

    #[test]
    fn a_mapping_at_its_alignment_is_one_block() {
        assert_eq!(cover(64, 64, 9, 8), Some(vec![(64, 64)]));
        assert_eq!(cover(7, 1, 0, 1), Some(vec![(7, 1)]));
    }

    #[test]
    fn one_block_may_be_less_than_twice_as_long() {
        assert_eq!(cover(128, 65, 9, 8), Some(vec![(128, 128)]));
        assert_eq!(cover(128, 64, 9, 8), Some(vec![(128, 64)]));
        assert_eq!(cover(191, 2, 9, 8), Some(vec![(191, 1), (192, 1)]));
    }

    #[test]
    fn what_takes_too_many_blocks_is_rounded_and_only_then_given_up() {
        // Exactly: 1, 2, 4, ... from 1 to 1023.
        assert_eq!(cover(1, 1022, 9, 32).map(|all| all.len()), Some(18));
        let rounded = cover(1, 1022, 9, 2).unwrap();
        assert_eq!(rounded, [(0, 512), (512, 512)]);
        assert_eq!(cover(0, 9 << 9, 9, 8), None);
        assert_eq!(cover(0, 9, 0, 8), None);
    }

    #[test]
    fn every_page_is_covered_by_few_aligned_blocks() {
        for (first, count) in (0..70).flat_map(|first| (1..200).map(move |count| (first, count))) {
            for (largest_log2, most) in [(0, 8), (3, 8), (9, 1), (9, 8), (39, 2)] {
                let Some(blocks) = cover(first, count, largest_log2, most) else {
                    let fewest =
                        (first + count).div_ceil(1 << largest_log2) - first / (1 << largest_log2);
                    assert!(
                        fewest > most as u64,
                        "{first} {count} {largest_log2} {most}"
                    );
                    continue;
                };
                assert!(blocks.len() <= most);
                assert!(blocks[0].0 <= first);
                let mut next = blocks[0].0;
                for (start, len) in blocks {
                    assert!(start == next && start % len == 0 && len <= 1 << largest_log2);
                    next = start + len;
                }
                assert!(next >= first + count);
            }
        }
    }

    #[test]
    fn the_last_page_there_is_is_covered() {
        let last = u64::MAX >> FRAME_SIZE_LOG2;
        let start = BusAddr::new(last << FRAME_SIZE_LOG2);
        let range = BusRange::new(start, 1 << FRAME_SIZE_LOG2).unwrap();
        let only = Block {
            start: last << FRAME_SIZE_LOG2,
            pages_log2: 0,
        };
        assert_eq!(Block::around(range, 39), Some(only));
        let blocks: Vec<Block> = Cover::new(range, 39, 8).unwrap().collect();
        assert_eq!(blocks, [only]);
    }
}

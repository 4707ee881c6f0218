//! Freeing many ranges: this CPU's value is entered once for many of them, and to another CPU whatever lies in one word is left at once.

use super::lent::LentBlock;
use super::{Lanes, Level, Parted};
use crate::iova::units::IN_WORD;
use crate::platform::Platform;

/// Most ranges that are freed before the CPU's value is left: interrupts are off until then.
const AT_ONCE: usize = 64;

/// Where freeing many stopped.
pub(crate) struct Stopped<T> {
    /// Nothing is left in this block, which is to be [taken back](Lanes::take_back).
    pub(crate) unused: Option<Parted>,
    /// The next range, which is to be [freed](Lanes::free) wherever it is; `None` where all are free.
    pub(crate) next: Option<T>,
}

impl<P: Platform, S: Default> Lanes<P, S> {
    /// Frees ranges as long as they are in blocks of granules, `granules` saying of each with which granule it begins, and how many it has.
    ///
    /// # Safety
    /// The caller has all of them, whole, and gives them up.
    pub(crate) unsafe fn free_many<T>(
        &self,
        ranges: &mut impl Iterator<Item = T>,
        granules: impl Fn(&T) -> (u64, u64),
    ) -> Stopped<T> {
        let (mut next, mut unused) = (ranges.next(), None);
        // Longer ones are in several words, or in other blocks, wherever they begin; none is empty.
        let in_word = |range: &Option<T>| {
            let (granule, len) = granules(range.as_ref()?);
            (len.wrapping_sub(1) < IN_WORD).then_some((granule, len as usize))
        };
        self.cpus.with(|cpu, seat| {
            let lane = seat.lane(Level::Granules);
            let mut left = AT_ONCE;
            while left > 0
                && let Some((granule, len)) = in_word(&next)
            {
                left -= 1;
                if lane.hot().is_some_and(|hot| hot.end_unit(granule, len)) {
                    next = ranges.next();
                    continue;
                }
                let Some(block) = self.directory(Level::Granules).get(granule) else {
                    return;
                };
                // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
                let block = unsafe { block.as_ref() };
                if block.owner() == cpu {
                    block.end_range(granule, len);
                    next = ranges.next();
                    while left > 0
                        && let Some((granule, len)) = in_word(&next)
                        && block.contains(granule)
                    {
                        left -= 1;
                        block.end_range(granule, len);
                        next = ranges.next();
                    }
                    unused = lane.part_if_unused(block).map(Parted);
                    if unused.is_some() {
                        return;
                    }
                } else {
                    let mut word = WordLeft::of(block, granule);
                    next = ranges.next();
                    while left > 0
                        && let Some((granule, _)) = in_word(&next)
                        && word.add(granule)
                    {
                        left -= 1;
                        next = ranges.next();
                    }
                    word.leave();
                }
            }
        });
        Stopped { unused, next }
    }
}

/// Ranges of one word of another CPU's block, all of which the caller has.
struct WordLeft<'a> {
    block: &'a LentBlock,
    /// The first unit of the word.
    unit: u64,
    /// Where ranges begin.
    starts: u64,
}

impl<'a> WordLeft<'a> {
    fn of(block: &'a LentBlock, granule: u64) -> Self {
        // Blocks begin where words do.
        let unit = granule & !(IN_WORD - 1);
        Self {
            block,
            unit,
            starts: 1 << (granule - unit),
        }
    }

    /// Whether another one is in the word, too.
    fn add(&mut self, granule: u64) -> bool {
        let bit = granule.wrapping_sub(self.unit);
        let is_here = bit < IN_WORD;
        if is_here {
            self.starts |= 1 << bit;
        }
        is_here
    }

    /// Leaves all of them to the owner.
    fn leave(self) {
        self.block.leave_all(self.unit, self.starts);
    }
}

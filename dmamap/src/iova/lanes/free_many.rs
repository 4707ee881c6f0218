//! Freeing many ranges: this CPU's value is entered once for many of them, and to another CPU whatever lies in one word is left at once.

use super::lane::Lane;
use super::lent::LentBlock;
use super::{Lanes, Level, Parted};
use crate::iova::units::IN_WORD;
use crate::platform::{Cpu, Platform};

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
            let (mut run, mut left) = (Run::None, AT_ONCE);
            while left > 0
                && let Some((granule, len)) = in_word(&next)
            {
                if !run.goes_on(granule, len) {
                    unused = core::mem::replace(&mut run, Run::None).end(lane);
                    if unused.is_some() {
                        return;
                    }
                    if !lane.hot().is_some_and(|hot| hot.end_unit(granule, len)) {
                        let Some(block) = self.directory(Level::Granules).get(granule) else {
                            return;
                        };
                        // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
                        let block = unsafe { block.as_ref() };
                        run = Run::begin(block, cpu, (granule, len));
                    }
                }
                left -= 1;
                next = ranges.next();
            }
            unused = run.end(lane);
        });
        Stopped { unused, next }
    }
}

/// Ranges one after the other in one block, which is not the one at hand.
enum Run<'a> {
    None,
    /// Of this CPU's: they have ended, and it may be that nothing is left.
    Own(&'a LentBlock),
    /// Of another's: all are in its word that begins with the unit, and the bits say where they begin. They are the caller's until they
    /// are left to the owner.
    Left(&'a LentBlock, u64, u64),
}

impl<'a> Run<'a> {
    /// With a range of `block`.
    fn begin(block: &'a LentBlock, cpu: Cpu, (granule, len): (u64, usize)) -> Self {
        if block.owner() == cpu {
            block.end_range(granule, len);
            return Self::Own(block);
        }
        // Blocks begin where words do.
        let unit = granule & !(IN_WORD - 1);
        Self::Left(block, unit, 1 << (granule - unit))
    }

    /// Whether another range goes with it; then it does.
    #[inline]
    fn goes_on(&mut self, granule: u64, len: usize) -> bool {
        match self {
            Self::Own(block) if block.contains(granule) => block.end_range(granule, len),
            Self::Left(_, unit, starts) if granule.wrapping_sub(*unit) < IN_WORD => {
                *starts |= 1 << (granule - *unit);
            }
            _ => return false,
        }
        true
    }

    /// The block, if nothing is left in it and the lane, whose it was, parts with it.
    #[inline]
    fn end(self, lane: &mut Lane) -> Option<Parted> {
        match self {
            Self::None => None,
            Self::Own(block) => lane.part_if_unused(block).map(Parted),
            Self::Left(block, unit, starts) => {
                block.leave_all(unit, starts);
                None
            }
        }
    }
}

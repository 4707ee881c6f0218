//! Freeing many ranges, most of which are in the block at hand: this CPU's value is entered once for all of them.

use super::{Lanes, Level};
use crate::iova::units::IN_WORD;
use crate::platform::Platform;

/// Most ranges that are freed before the CPU's value is left: interrupts are off until then.
const AT_ONCE: usize = 64;

impl<P: Platform, S: Default> Lanes<P, S> {
    /// Frees ranges as long as they are in the block of granules that this CPU chose from last, `granules` saying of each with which
    /// granule it begins, and how many it has. Returns the next, which is to be [freed](Self::free) wherever it is; `None` where all
    /// are free.
    ///
    /// # Safety
    /// The caller has all of them, whole, and gives them up.
    pub(crate) unsafe fn free_many<T>(
        &self,
        ranges: &mut impl Iterator<Item = T>,
        granules: impl Fn(&T) -> (u64, u64),
    ) -> Option<T> {
        let mut next = ranges.next();
        self.cpus.with(|_, seat| {
            let Some(hot) = seat.lane(Level::Granules).hot() else {
                return;
            };
            for _ in 0..AT_ONCE {
                let Some(range) = &next else { return };
                let (granule, len) = granules(range);
                // Longer ones are in several words, or in other blocks, wherever they begin; none is empty.
                if len.wrapping_sub(1) >= IN_WORD || !hot.end_unit(granule, len as usize) {
                    return;
                }
                next = ranges.next();
            }
        });
        next
    }
}

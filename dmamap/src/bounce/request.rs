//! What is asked of a pool for one mapping.

use core::ops::Range;

use super::SLOT_SIZE_LOG2;
use super::magazine::MOST;
use super::run::Purpose;
use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr};
use crate::map::AnyDirection;

/// Bytes of the longest run that a CPU keeps.
const MOST_BYTES: u64 = (MOST as u64) << SLOT_SIZE_LOG2;

/// Memory that a mapping asks a pool for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRequest {
    /// Bytes of the mapping; at least 1.
    pub(crate) len_bytes: u64,
    /// What the address of the first byte shall be modulo `2^align_log2`.
    pub(crate) offset: u64,
    /// See `offset`.
    pub(crate) align_log2: u32,
    /// log2 of the bytes that the run is made of whole ones of: a slot, or a page where pages are mapped.
    pub(crate) granule_log2: u32,
    /// log2 of the addresses none of whose multiples may lie inside the run, if the run is no longer than that.
    pub(crate) boundary_log2: u32,
    /// Y: the first byte of the memory that the run stands in for.
    pub(crate) origin: PhysAddr,
    /// Who moves the data.
    pub(crate) direction: AnyDirection,
}

impl RunRequest {
    /// What a run of this request is noted to be for, its first byte at `offset`.
    #[inline]
    pub(super) fn purpose(&self, offset: u64) -> Purpose {
        Purpose {
            offset,
            len_bytes: self.len_bytes,
            origin: self.origin,
            direction: self.direction,
        }
    }

    /// Bytes from the aligned address on that the mapping touches.
    fn end(&self) -> Option<u64> {
        let end = self.offset.checked_add(self.len_bytes)?;
        end.checked_next_multiple_of(1 << self.granule_log2())
    }

    #[inline]
    pub(super) fn granule_log2(&self) -> u32 {
        self.granule_log2.max(SLOT_SIZE_LOG2)
    }

    /// log2 of the slots of the smallest block that a run lies in, and those of its slots that the run needs; `None`
    /// where there is no such number.
    pub(super) fn block(&self) -> Option<(u32, Range<u32>)> {
        let end = self.end()?;
        let first = self.offset >> self.granule_log2() << self.granule_log2();
        let slots = u32::try_from(end >> SLOT_SIZE_LOG2).ok()?;
        let order = slots.checked_next_power_of_two()?.ilog2();
        let order = order.max(self.align_log2.saturating_sub(SLOT_SIZE_LOG2));
        Some((order, (first >> SLOT_SIZE_LOG2) as u32..slots))
    }

    /// Slots of the run, where one that a CPU [keeps](super::magazine) serves.
    #[inline]
    pub(super) fn slots_of_kept(&self) -> Option<u32> {
        let within = (1 << self.granule_log2()) - 1;
        if self.offset > within || self.len_bytes > MOST_BYTES {
            return None;
        }
        let end = (self.offset + self.len_bytes + within) & !within;
        let slots = (end >> SLOT_SIZE_LOG2) as u32;
        let is_aligned = self.align_log2 <= SLOT_SIZE_LOG2
            || self.align_log2 <= SLOT_SIZE_LOG2 + slots.next_power_of_two().trailing_zeros();
        (slots <= MOST && is_aligned).then_some(slots)
    }

    /// Whole frames that a run of its own needs, and log2 of their alignment.
    pub(super) fn frames(&self) -> Option<(u64, u32)> {
        let len_bytes = self.end()?.checked_next_multiple_of(FRAME_BYTES)?;
        let natural_log2 = len_bytes.checked_next_power_of_two()?.ilog2();
        let within = match self.boundary_log2 {
            log2 if log2 < u64::BITS => natural_log2.min(log2),
            _ => 0,
        };
        let align_log2 = self.align_log2.max(self.granule_log2()).max(within);
        Some((len_bytes, align_log2.max(FRAME_SIZE_LOG2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounce::SLOT_BYTES;

    /// Every offset in a page, and every length up to two pages.
    #[test]
    fn a_run_holds_the_mapping_keeps_its_offset_and_wastes_no_slot() {
        for (align_mask, granule_log2) in [(0, 0), (511, 0), (4095, 0), (0xffff, 0), (4095, 12)] {
            for start in 0x1_7000..0x1_8000_u64 {
                for len_bytes in 1..=8192 {
                    let request = RunRequest {
                        len_bytes,
                        offset: start & align_mask,
                        align_log2: u64::BITS - align_mask.leading_zeros(),
                        granule_log2,
                        boundary_log2: 32,
                        origin: PhysAddr::new(start),
                        direction: AnyDirection::ToDevice,
                    };
                    let (order, keep) = request.block().expect("there is one");
                    let slot = 1 << granule_log2.max(SLOT_SIZE_LOG2);
                    let (first, end) = (request.offset, request.offset + len_bytes);
                    let kept = u64::from(keep.start) * SLOT_BYTES..u64::from(keep.end) * SLOT_BYTES;
                    assert!(kept.start <= first && end <= kept.end, "{request:?}");
                    assert!(
                        first - kept.start < slot && kept.end - end < slot,
                        "{request:?}"
                    );
                    assert!(keep.end <= 1 << order, "{request:?}");
                    // A block is aligned to its size, and so to what must be kept.
                    assert!(SLOT_BYTES << order > align_mask, "{request:?}");
                }
            }
        }
    }
}

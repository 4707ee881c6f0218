//! The block that a lane chooses from, and the word of it that is looked at first, with the bus addresses of its units: all that most
//! ranges need.
//!
//! Of ranges of no more units than a word has, it is the word where one was freed last, or where one was found. So a range that is freed
//! and the next one of that length are a few bits in one word, and nothing else of the block is looked at. Of longer ones, which are whole
//! words but for their last, it is noted where one was freed last, beside the word, which shorter ones so keep.

use core::ptr::NonNull;

use super::lent::LentBlock;
use super::sync::AtomicU64;
use super::word::Word;
use crate::addr::BusAddr;
use crate::iova::units::{IN_WORD, WORD_LOG2};

/// A block that is lent to the lane that has this, until the lane parts with it; and a word of it. It is no copy that others could have.
pub(crate) struct AtHand {
    word: NonNull<Word>,
    /// The bus addresses of the word's first byte and of its last.
    first: u64,
    last: u64,
    /// The number of its first unit.
    unit: u64,
    /// The entries of its units, all 64, if the block has entries.
    entries: Option<NonNull<AtomicU64>>,
    block: NonNull<LentBlock>,
    /// The first unit of the range of several words that was freed last, or some other of the block's.
    long: u64,
}

impl AtHand {
    /// The word with this unit.
    ///
    /// # Safety
    /// The block is lent to the lane that is to have this, and the lane has it no longer than the block.
    #[inline]
    pub(super) unsafe fn of(block: &LentBlock, unit: u64) -> Self {
        let first_unit = unit >> WORD_LOG2 << WORD_LOG2;
        let first = first_unit << block.unit_log2;
        let entries = block.entries(first_unit, 64);
        Self {
            word: NonNull::from(block.word(unit)),
            first,
            last: first + ((64 << block.unit_log2) - 1),
            unit: first_unit,
            entries: (!entries.is_empty()).then(|| NonNull::from(entries).cast()),
            block: NonNull::from(block),
            long: first_unit,
        }
    }

    /// Has the word with this unit at hand, which is in the same block.
    #[inline]
    fn turn_to(&mut self, unit: u64) {
        let long = self.long;
        // SAFETY: it is a word of the same block.
        *self = Self {
            long,
            ..unsafe { Self::of(self.block.as_ref(), unit) }
        };
    }

    #[inline]
    pub(super) fn pointer(&self) -> NonNull<LentBlock> {
        self.block
    }

    #[inline]
    pub(super) fn block(&self) -> &LentBlock {
        // SAFETY: it is lent to the lane, as `of` was promised.
        unsafe { self.block.as_ref() }
    }

    #[inline]
    fn word(&self) -> &Word {
        // SAFETY: it is a part of the block, which is lent to the lane.
        unsafe { self.word.as_ref() }
    }

    /// Whether all of the word lies within limits, inclusive.
    #[inline(always)]
    fn is_within(&self, (first, last): (BusAddr, BusAddr)) -> bool {
        first.as_u64() <= self.first && self.last <= last.as_u64()
    }

    /// Begins a range of `len` units, if the word lies within these limits, inclusive, and has room for `2^order` ([`Word::begin`]). The
    /// owner's to call.
    #[inline(always)]
    pub(crate) fn begin(
        &self,
        (order, len): (u32, usize),
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
    ) -> Option<BusAddr> {
        let (_, bus) = self.begin_at((order, len), limits, unit_log2)?;
        Some(bus)
    }

    /// As [`begin`](Self::begin); which of the word's units is the first, too.
    #[inline(always)]
    fn begin_at(
        &self,
        (order, len): (u32, usize),
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
    ) -> Option<(u32, BusAddr)> {
        if !self.is_within(limits) {
            return None;
        }
        let unit = self.word().begin(order, len)?;
        let bus = BusAddr::new(self.first + (u64::from(unit) << unit_log2));
        Some((unit, bus))
    }

    /// As [`begin`](Self::begin), of any length that a block serves: longer ones where one was freed last.
    #[inline]
    pub(crate) fn begin_any(
        &self,
        (order, len): (u32, usize),
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
    ) -> Option<BusAddr> {
        match order <= WORD_LOG2 {
            true => self.begin((order, len), limits, unit_log2),
            false => self.begin_long((order, len), limits, unit_log2),
        }
    }

    /// As [`begin`](Self::begin), of units that are larger than granules, of the last of which the range has so many.
    #[inline(always)]
    pub(crate) fn begin_large(
        &self,
        (size, tail): ((u32, usize), u16),
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
    ) -> Option<BusAddr> {
        let bus = self.begin(size, limits, unit_log2)?;
        self.block().set_tail(bus.as_u64() >> unit_log2, tail);
        Some(bus)
    }

    /// As [`begin`](Self::begin), of one unit, if there are entries: `write` is called with its own, and where that says no the range ends
    /// again.
    #[inline(always)]
    pub(super) fn begin_one_if(
        &self,
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
        write: impl FnOnce(&AtomicU64) -> bool,
    ) -> Option<BusAddr> {
        let entries = self.entries?;
        let (unit, bus) = self.begin_at((0, 1), limits, unit_log2)?;
        // SAFETY: one of the word's 64 units, all of whose entries `of` was given, which stay where they are as long as the block is lent.
        if write(unsafe { entries.add(unit as usize).as_ref() }) {
            return Some(bus);
        }
        self.word().end(unit, 1);
        None
    }

    /// Begins a range of `len` units, if it is for no more than a word has, there are entries, the word lies within `limits`, inclusive, and
    /// has room. Calls `write` with the first address and the entries of all of them.
    #[inline(always)]
    pub(crate) fn begin_with(
        &self,
        len: usize,
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
        write: impl FnOnce(BusAddr, &[AtomicU64]),
    ) -> Option<BusAddr> {
        let entries = self.entries?;
        if len.wrapping_sub(1) >= IN_WORD as usize {
            return None;
        }
        let order = usize::BITS - (len - 1).leading_zeros();
        let (unit, bus) = self.begin_at((order, len), limits, unit_log2)?;
        // SAFETY: `len` of the word's 64 units from that one on, as the word has begun a range of so many there; `of` was given the entries of
        // all 64, which stay where they are as long as the block is lent.
        let entries = NonNull::slice_from_raw_parts(unsafe { entries.add(unit as usize) }, len);
        // SAFETY: as above.
        write(bus, unsafe { entries.as_ref() });
        Some(bus)
    }

    /// Ends a range of so many units, no more than a word has, if it is in the block ([`Word::end`]), whose word with it is at hand
    /// then; whether it is. The owner's to call.
    ///
    /// # Safety
    /// The caller has the range, whole, and gives it up if it is there.
    #[inline(always)]
    pub(crate) unsafe fn end(&mut self, start: BusAddr, len: usize, unit_log2: u32) -> bool {
        let unit = start.as_u64().wrapping_sub(self.first) >> unit_log2;
        if unit < 64 {
            self.word().end(unit as u32, len);
            return true;
        }
        self.end_unit(start.as_u64() >> unit_log2, len)
    }

    /// The same of a range that begins with this unit of all there are.
    #[inline(always)]
    pub(super) fn end_unit(&mut self, granule: u64, len: usize) -> bool {
        if granule.wrapping_sub(self.unit) >= 64 {
            if !self.block().contains(granule) {
                return false;
            }
            self.turn_to(granule);
        }
        self.word().end((granule % 64) as u32, len);
        true
    }

    /// As [`begin`](Self::begin), where `2^order` are more than a word has: around where such a range was freed last.
    #[inline]
    fn begin_long(
        &self,
        (order, len): (u32, usize),
        limits: (BusAddr, BusAddr),
        unit_log2: u32,
    ) -> Option<BusAddr> {
        let unit = self.long >> order << order;
        let first = unit << unit_log2;
        let last = first + ((1 << (order + unit_log2)) - 1);
        if first < limits.0.as_u64() || limits.1.as_u64() < last {
            return None;
        }
        let (whole, part) = self.block().words_of_long(unit, len);
        let words = whole.iter().chain(part.map(|(word, _)| word));
        if { words }.any(|word| word.used() != 0) {
            return None;
        }
        let mut begins = 1;
        for word in whole {
            word.take_all(begins);
            begins = 0;
        }
        if let Some((word, units)) = part {
            word.take(units, begins);
        }
        Some(BusAddr::new(first))
    }

    /// As [`end`](Self::end), of more units than a word has.
    ///
    /// # Safety
    /// As [`end`](Self::end).
    #[inline]
    pub(crate) unsafe fn end_long(&mut self, start: BusAddr, len: usize, unit_log2: u32) -> bool {
        self.end_long_unit(start.as_u64() >> unit_log2, len)
    }

    /// As [`end_unit`](Self::end_unit), of more units than a word has.
    #[inline]
    pub(super) fn end_long_unit(&mut self, unit: u64, len: usize) -> bool {
        if !self.block().contains(unit) {
            return false;
        }
        self.long = unit;
        self.block().end_long(unit, len);
        true
    }
}

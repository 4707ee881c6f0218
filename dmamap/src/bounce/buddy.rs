//! Which slots of an area are free: blocks of a power of two of slots, each at a multiple of its own size.
//!
//! Blocks of one size are chained through their records, and a word tells which chains are not empty, so that taking
//! and giving back cost as many steps as an area has sizes, however full it is. A run lies in the smallest block that
//! holds it, and what it does not need at either end goes back at once; so it is aligned to its own power of two,
//! crosses no boundary that it need not, and wastes no slot.

use core::ops::Range;

use super::record::{Holds, Kind, NONE, Record};
use super::records::Records;
use crate::platform::{OutOfFrames, Platform};

/// Sizes of blocks: up to `2^15` slots, 64 MiB.
pub(super) const ORDERS: usize = 16;

/// The free slots of one area.
pub(super) struct Buddy<P: Platform> {
    records: Records<P>,
    heads: [u32; ORDERS],
    /// Bit n: a block of `2^n` slots is free.
    open: u32,
    /// log2 of the area's slots.
    order: u8,
    /// Slots that are in no block.
    taken: u32,
}

impl<P: Platform> Buddy<P> {
    /// `2^order` slots, all free.
    pub(super) fn new(platform: P, order: u8) -> Result<Self, OutOfFrames> {
        let mut this = Self {
            records: Records::allocate(platform, 1 << order)?,
            heads: [NONE; ORDERS],
            open: 0,
            order,
            taken: 0,
        };
        this.push(0, order);
        Ok(this)
    }

    /// Bit n: a block of `2^n` slots is free.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// Slots that are in no block.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    pub(super) fn records(&self) -> &Records<P> {
        &self.records
    }

    fn record(&self, slot: u32) -> Option<&Record> {
        self.records.all().get(slot as usize)
    }

    /// Takes a block of `2^order` slots, and keeps of it those slots that `keep` names, counted from the block's first. Returns the
    /// first one kept: the caller begins a run there.
    pub(super) fn take(&mut self, order: u8, keep: Range<u32>) -> Option<u32> {
        let large_enough = self.open & u32::MAX.checked_shl(order.into())?;
        let found = large_enough.trailing_zeros() as u8;
        if large_enough == 0 {
            return None;
        }
        let block = self.heads[usize::from(found)];
        self.unlink(block, found);
        for half in (order..found).rev() {
            self.push(block + (1 << half), half);
        }
        let (first, end) = (block + keep.start, block + keep.end);
        if block != first || end != block + (1 << order) {
            self.free_all(block..first);
            self.free_all(end..block + (1 << order));
        }
        self.taken += keep.end - keep.start;
        Some(first)
    }

    /// As [`take`](Self::take), up to `most` blocks: those that lie side by side are taken as one, where they are free. Begins a run in
    /// each, and calls `each` with its first slot.
    pub(super) fn take_several(
        &mut self,
        order: u8,
        keep: &Range<u32>,
        most: usize,
        mut each: impl FnMut(u32),
    ) {
        let slots = keep.end - keep.start;
        let mut left = most.min(1 << ORDERS);
        while left > 0 {
            let more = match slots == 1 << order {
                true => left.ilog2() as u8,
                // What is not kept of each goes back by itself.
                false => 0,
            };
            let found = (0..=more).rev().find_map(|more| {
                let keep = keep.start..keep.start + (slots << more);
                Some((self.take(order + more, keep)?, more))
            });
            let Some((first, more)) = found else {
                break;
            };
            for slot in (first..).step_by(slots as usize).take(1 << more) {
                self.records.all()[slot as usize].keep(slots, NONE, Holds::Anything);
                each(slot);
            }
            left -= 1 << more;
        }
    }

    /// Takes the run that begins at `slot` and is of this kind back; how many slots it had, or `None` if none begins there.
    pub(super) fn give_back(&mut self, slot: u32, kind: Kind) -> Option<u32> {
        let record = self.record(slot)?;
        let tag = record.tag();
        if tag.kind() != kind {
            return None;
        }
        record.end_block();
        let slots = tag.slots();
        self.taken -= slots;
        match slots.is_power_of_two() && slot.is_multiple_of(slots) {
            true => self.free(slot, slots.ilog2() as u8),
            false => self.free_all(slot..slot + slots),
        }
        Some(slots)
    }

    /// The first slot of the lent run that `slot` is in, and what is noted of it.
    pub(super) fn run_of(&self, slot: u32) -> Option<(u32, &Record)> {
        let before = self.records.all().get(..=slot as usize)?;
        let is_first = |one: &Record| one.tag().kind() != Kind::Inner;
        let first = before.iter().rposition(is_first)?;
        let (run, first) = (&before[first], first as u32);
        let within = slot - first < run.tag().slots();
        (run.tag().kind() == Kind::Lent && within).then_some((first, run))
    }

    /// Makes slots that are in no chain free, in blocks as large as they may be.
    fn free_all(&mut self, slots: Range<u32>) {
        let Range { mut start, end } = slots;
        while start < end {
            let fits = (end - start).ilog2();
            let order = start.trailing_zeros().min(fits) as u8;
            self.free(start, order);
            start += 1 << order;
        }
    }

    fn free(&mut self, mut block: u32, mut order: u8) {
        while order < self.order {
            let buddy = block ^ (1 << order);
            if !self.records.all()[buddy as usize].is_free(order) {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.push(block, order);
    }

    fn push(&mut self, block: u32, order: u8) {
        let head = self.heads[usize::from(order)];
        let records = self.records.all();
        if let Some(next) = records.get(head as usize) {
            next.set_previous(block);
        }
        records[block as usize].begin_free(order, NONE, head);
        self.heads[usize::from(order)] = block;
        self.open |= 1 << order;
    }

    fn unlink(&mut self, block: u32, order: u8) {
        let records = self.records.all();
        let record = &records[block as usize];
        record.end_block();
        let (next, previous) = (record.next(), record.previous());
        if let Some(next) = records.get(next as usize) {
            next.set_previous(previous);
        }
        match records.get(previous as usize) {
            Some(previous) => previous.set_next(next),
            None => {
                self.heads[usize::from(order)] = next;
                if next == NONE {
                    self.open &= !(1 << order);
                }
            }
        }
    }
}

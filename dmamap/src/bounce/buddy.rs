//! Which slots of an area are free: blocks of a power of two of slots, each at a multiple of its own size.
//!
//! Blocks of one size are chained through their records, and a word tells which chains are not empty, so that taking
//! and giving back cost as many steps as an area has sizes, however full it is. A run lies in the smallest block that
//! holds it, and what it does not need at either end goes back at once; so it is aligned to its own power of two,
//! crosses no boundary that it need not, and wastes no slot.

use core::ops::Range;

use super::records::{Kind, NONE, Record, Records};
use super::run::Purpose;
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
    lent: u32,
}

impl<P: Platform> Buddy<P> {
    /// `2^order` slots, all free.
    pub(super) fn new(platform: P, order: u8) -> Result<Self, OutOfFrames> {
        let mut this = Self {
            records: Records::allocate(platform, 1 << order)?,
            heads: [NONE; ORDERS],
            open: 0,
            order,
            lent: 0,
        };
        this.push(0, order);
        Ok(this)
    }

    /// Bit n: a block of `2^n` slots is free.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// Slots that are lent.
    pub(super) fn lent(&self) -> u32 {
        self.lent
    }

    pub(super) fn record(&self, slot: u32) -> Option<&Record> {
        self.records.all().get(slot as usize)
    }

    /// Takes a block of `2^order` slots and lends those of its slots that `keep` names, counted from the block's first.
    /// Returns the first one lent.
    pub(super) fn take(&mut self, order: u8, keep: Range<u32>) -> Option<u32> {
        let large_enough = self.open & (u32::MAX << order);
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
        self.free_all(block..first);
        self.free_all(end..block + (1 << order));
        let slots = keep.end - keep.start;
        self.lent += slots;
        let record = &mut self.records.all_mut()[first as usize];
        record.kind = Kind::Lent;
        record.slots = slots;
        Some(first)
    }

    /// Notes what the run that begins at `slot` was lent for.
    pub(super) fn note(&mut self, slot: u32, purpose: &Purpose) {
        let record = &mut self.records.all_mut()[slot as usize];
        // A block is at most an area, which is far below 4 GiB.
        record.offset = purpose.offset as u32;
        record.len_bytes = purpose.len_bytes as u32;
        record.origin = purpose.origin;
        record.direction = purpose.direction;
    }

    /// Takes the run that begins at `slot` back; how many slots it had, or `None` if none begins there.
    pub(super) fn give_back(&mut self, slot: u32) -> Option<u32> {
        let record = self.records.all_mut().get_mut(slot as usize)?;
        if record.kind != Kind::Lent {
            return None;
        }
        record.kind = Kind::Inner;
        let slots = record.slots;
        self.lent -= slots;
        self.free_all(slot..slot + slots);
        Some(slots)
    }

    /// The first slot of the lent run that `slot` is in.
    pub(super) fn run_of(&self, slot: u32) -> Option<u32> {
        let before = self.records.all().get(..=slot as usize)?;
        let first = before.iter().rposition(|one| one.kind != Kind::Inner)?;
        let run = &before[first];
        let within = slot - (first as u32) < run.slots;
        (run.kind == Kind::Lent && within).then_some(first as u32)
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
            let record = &self.records.all()[buddy as usize];
            if record.kind != Kind::Free || record.order != order {
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
        let records = self.records.all_mut();
        if let Some(next) = records.get_mut(head as usize) {
            next.previous = block;
        }
        let record = &mut records[block as usize];
        record.kind = Kind::Free;
        record.order = order;
        record.next = head;
        record.previous = NONE;
        self.heads[usize::from(order)] = block;
        self.open |= 1 << order;
    }

    fn unlink(&mut self, block: u32, order: u8) {
        let records = self.records.all_mut();
        let record = &mut records[block as usize];
        record.kind = Kind::Inner;
        let (next, previous) = (record.next, record.previous);
        if let Some(next) = records.get_mut(next as usize) {
            next.previous = previous;
        }
        match records.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => {
                self.heads[usize::from(order)] = next;
                if next == NONE {
                    self.open &= !(1 << order);
                }
            }
        }
    }
}

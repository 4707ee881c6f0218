//! What there is of lent blocks under the lock of their space: their records.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU16;

use super::super::block::Level;
use super::super::units::UNITS;
use super::lent::{LentBlock, Tails};
use crate::platform::Platform;
use crate::slab::{Handle, Slab};

/// What there is of lent blocks under the lock of their space.
pub(crate) struct Lender<P: Platform> {
    pub(super) records: Slab<P, LentBlock>,
    /// Of large blocks.
    pub(super) tails: Slab<P, [AtomicU16; UNITS]>,
    /// Lanes there have been whose owner is no CPU.
    pub(super) owners: usize,
}

impl<P: Platform> Lender<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self {
            records: Slab::new(platform),
            tails: Slab::new(platform),
            owners: 0,
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.records.frames() + self.tails.frames()
    }

    /// Whether there is room for the record of another block of that level.
    pub(super) fn reserve(&mut self, level: Level) -> bool {
        let tails = match level {
            Level::Granules => 0,
            Level::Blocks => 1,
        };
        self.records.reserve(1).is_ok() && self.tails.reserve(tails).is_ok()
    }

    /// What goes with a block of that level, for which there is room.
    pub(super) fn insert_tails(&mut self, level: Level) -> Option<Tails> {
        if level == Level::Granules {
            return None;
        }
        let tails = core::array::from_fn(|_| AtomicU16::new(0));
        let record = self.tails.insert(tails).ok()?;
        let words = NonNull::from(&self.tails[record]);
        Some(Tails { words, record })
    }

    /// Forgets a block.
    pub(super) fn remove(&mut self, record: Handle<LentBlock>) {
        if let Some(LentBlock {
            tails: Some(tails), ..
        }) = self.records.remove(record)
        {
            self.tails.remove(tails.record);
        }
    }

    /// Whether any block is lent.
    pub(crate) fn has_lent(&self) -> bool {
        !self.records.is_empty()
    }
}

//! Words of a shadow: what the walker knows about the table under an entry.

use crate::addr::{FRAME_SIZE_LOG2, PhysAddr};

/// How many entries the table under an entry has, and where its own shadow is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally(u64);

impl Tally {
    /// The highest address a shadow, and so a table, may have: the frame's number takes the 49 bits from
    /// [`NUMBER`](Self::NUMBER) on.
    pub(super) const LAST_PHYS: PhysAddr = PhysAddr::new((1 << 61) - 1);

    /// The count takes 14 bits, as it may be 8192.
    const COUNT: u64 = 0x3fff;
    const HAS_SHADOW: u64 = 1 << 14;
    const NUMBER: u32 = 15;

    /// Of a table just linked.
    pub(super) fn new(shadow: Option<PhysAddr>) -> Self {
        Self(shadow.map_or(0, |phys| {
            phys.as_u64() >> FRAME_SIZE_LOG2 << Self::NUMBER | Self::HAS_SHADOW
        }))
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// Entries that are not empty.
    pub(super) fn present(self) -> usize {
        (self.0 & Self::COUNT) as usize
    }

    pub(super) fn with_present(self, present: usize) -> Self {
        Self(self.0 & !Self::COUNT | present as u64)
    }

    /// The table's shadow; tables of level 1 have none.
    pub(super) fn shadow(self) -> Option<PhysAddr> {
        (self.0 & Self::HAS_SHADOW != 0)
            .then(|| PhysAddr::new(self.0 >> Self::NUMBER << FRAME_SIZE_LOG2))
    }
}

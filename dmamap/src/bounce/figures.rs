//! What a pool lends, and the most it ever lent.

use core::sync::atomic::{AtomicU64, Ordering};

/// What a pool of bounce buffers holds and lends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Bytes of memory that the pool holds, in use or not, transient memory not counted.
    pub bytes: u64,
    /// Bytes of memory that the pool took and neither holds nor gave back: a device may reach them, as mapping them failed and
    /// was not confirmed undone. They count against the pool's limit.
    pub lost_bytes: u64,
    /// Its slots.
    pub slots: u64,
    /// Slots that are lent now.
    pub slots_in_use: u64,
    /// The most slots that were ever lent at once.
    pub slots_high_water: u64,
    /// Mappings that the pool found memory for elsewhere, now.
    pub transient: u64,
    /// The most of these there ever were at once.
    pub transient_high_water: u64,
    /// Mappings that were refused for want of memory.
    pub refused: u64,
}

impl PoolFigures {
    /// What two pools hold together; the sum of their high-water marks is the most they can have lent at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            lost_bytes: self.lost_bytes + other.lost_bytes,
            slots: self.slots + other.slots,
            slots_in_use: self.slots_in_use + other.slots_in_use,
            slots_high_water: self.slots_high_water + other.slots_high_water,
            transient: self.transient + other.transient,
            transient_high_water: self.transient_high_water + other.transient_high_water,
            refused: self.refused + other.refused,
        }
    }
}

/// A number, and the most it ever was.
#[derive(Default)]
pub(super) struct Level {
    now: AtomicU64,
    high_water: AtomicU64,
}

impl Level {
    pub(super) fn rise(&self, by: u64) {
        let now = self.now.fetch_add(by, Ordering::Relaxed) + by;
        self.high_water.fetch_max(now, Ordering::Relaxed);
    }

    pub(super) fn fall(&self, by: u64) {
        self.now.fetch_sub(by, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn high_water(&self) -> u64 {
        self.high_water.load(Ordering::Relaxed)
    }
}

//! How many slots are lent, counted per CPU so that no two CPUs write the same line.

use alloc::boxed::Box;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::platform::Cpu;

/// One CPU's share, which it writes alone, pinned; two cache lines, as neighbours are prefetched in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Share {
    /// Slots that were ever lent here. Only grows, as the next does: see [`Tally::lent`].
    lent: AtomicU64,
    /// Slots that ever came back here, wherever they were lent.
    returned: AtomicU64,
    /// Slots that are kept ready here.
    kept: AtomicU32,
    /// The least that were since slots last came from the areas here, or went there.
    least: AtomicU32,
}

/// The counts of a pool.
pub(super) struct Tally {
    shares: Box<[Share]>,
    /// Slots that are in no area's blocks: lent, or kept ready.
    taken: AtomicU64,
    high_water: AtomicU64,
}

impl Tally {
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            shares: (0..cpus.max(1)).map(|_| Share::default()).collect(),
            taken: AtomicU64::new(0),
            high_water: AtomicU64::new(0),
        }
    }

    #[inline]
    fn share(&self, cpu: Cpu) -> &Share {
        // No remainder, which takes longer than all else; there is one at least, and one for each CPU.
        self.shares.get(cpu.0).unwrap_or(&self.shares[0])
    }

    /// Slots that this CPU kept are lent.
    #[inline]
    pub(super) fn lend_kept(&self, cpu: Cpu, slots: u32) {
        let share = self.share(cpu);
        let kept = share.kept.load(Ordering::Relaxed).wrapping_sub(slots);
        share.kept.store(kept, Ordering::Relaxed);
        if kept < share.least.load(Ordering::Relaxed) {
            share.least.store(kept, Ordering::Relaxed);
        }
        add(&share.lent, slots, Ordering::Relaxed);
    }

    /// Slots that were lent are kept by this CPU.
    #[inline]
    pub(super) fn keep_returned(&self, cpu: Cpu, slots: u32) {
        let share = self.share(cpu);
        let kept = share.kept.load(Ordering::Relaxed).wrapping_add(slots);
        share.kept.store(kept, Ordering::Relaxed);
        add(&share.returned, slots, Ordering::Release);
    }

    /// Slots that this CPU keeps.
    #[inline]
    pub(super) fn kept(&self, cpu: Cpu) -> u32 {
        self.share(cpu).kept.load(Ordering::Relaxed)
    }

    /// Slots that any CPU keeps, or kept while this looked.
    pub(super) fn any_kept(&self) -> bool {
        let mut shares = self.shares.iter();
        shares.any(|share| share.kept.load(Ordering::Relaxed) != 0)
    }

    /// Slots of areas are lent, on this CPU, and others are kept by it.
    pub(super) fn take(&self, cpu: Cpu, lent: u32, kept: u32) {
        self.note_high_water();
        add(&self.share(cpu).lent, lent, Ordering::Relaxed);
        let taken = u64::from(lent) + u64::from(kept);
        self.taken.fetch_add(taken, Ordering::Relaxed);
        self.begin_with(cpu, self.kept(cpu) + kept);
    }

    /// Slots that were lent are the areas' again.
    pub(super) fn give_back(&self, cpu: Cpu, returned: u32) {
        self.note_high_water();
        add(&self.share(cpu).returned, returned, Ordering::Release);
        self.taken.fetch_sub(returned.into(), Ordering::Relaxed);
        self.begin_with(cpu, self.kept(cpu));
    }

    /// Slots that were kept by this CPU, or one that is stopped, are the areas' again.
    pub(super) fn give_back_kept(&self, cpu: Cpu, kept: u32) {
        self.note_high_water();
        self.taken.fetch_sub(kept.into(), Ordering::Relaxed);
        self.begin_with(cpu, self.kept(cpu).wrapping_sub(kept));
    }

    fn begin_with(&self, cpu: Cpu, kept: u32) {
        let share = self.share(cpu);
        share.kept.store(kept, Ordering::Relaxed);
        share.least.store(kept, Ordering::Relaxed);
    }

    /// What is taken and was kept at no moment since that last changed was lent at some. Exact where one CPU maps; where several do
    /// it may be more by what they kept ready, at different moments.
    fn note_high_water(&self) {
        let least = |share: &Share| u64::from(share.least.load(Ordering::Relaxed));
        let least: u64 = self.shares.iter().map(least).sum();
        let lent = self.taken.load(Ordering::Relaxed).saturating_sub(least);
        // Most often it is no more than it was, and the line stays everybody's.
        if lent > self.high_water.load(Ordering::Relaxed) {
            self.high_water.fetch_max(lent, Ordering::Relaxed);
        }
    }

    /// Slots that are lent, or were while this looked: never less than at every moment of it, so that 0 is said where there was
    /// nothing of the caller's. All that came back is counted first, and only then what was lent.
    pub(super) fn lent(&self) -> u64 {
        let sum = |pick: fn(&Share) -> &AtomicU64| -> u64 {
            let each = self.shares.iter();
            each.map(|share| pick(share).load(Ordering::Acquire)).sum()
        };
        let returned = sum(|share| &share.returned);
        sum(|share| &share.lent).saturating_sub(returned)
    }

    pub(super) fn high_water(&self) -> u64 {
        self.note_high_water();
        self.high_water.load(Ordering::Relaxed)
    }
}

/// Adds to a counter of the CPU that the caller is pinned to: nobody else writes it.
#[inline]
fn add(counter: &AtomicU64, more: u32, order: Ordering) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more.into());
    counter.store(sum, order);
}

//! A block of 512 units that one CPU chooses from, until it gives it back.
//!
//! Units are granules, or as large as a block of granules. To a block and its lane a unit is a granule, whatever it is to the space:
//! they are numbered alike.
//!
//! Its owner alone begins and ends ranges in it. Who frees a range elsewhere leaves a bit, which the owner finds when it looks
//! for room: one atomic operation, and the last that is done to the block for that range. So once the owner has found all of
//! them, nobody else has anything to do with the block.

use core::cell::Cell;
use core::ptr::NonNull;

use super::sync::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use crate::iova::block::{Block, Level};
use crate::iova::units::{self, UNITS, WORD_LOG2, WORDS};
use crate::platform::Cpu;
use crate::slab::Handle;

/// The entries of page tables for a block's units, one each, in order; kept for it alone as long as it is lent.
pub(crate) type Leaves = NonNull<[AtomicU64; UNITS]>;

/// Of each range of a block, by its first unit, how many granules it has of its last one.
#[derive(Clone, Copy)]
pub(super) struct Tails {
    pub(super) words: NonNull<[AtomicU16]>,
    /// What they are called.
    pub(super) record: Handle<[AtomicU16; UNITS]>,
}

/// One of the links of the list that an owner keeps of its blocks.
type Link = Cell<Option<NonNull<LentBlock>>>;

/// A lent block.
#[repr(align(64))]
pub(crate) struct LentBlock {
    /// Its first unit.
    pub(super) start: u64,
    /// How large units are.
    pub(super) level: Level,
    /// What the space calls it.
    pub(super) block: Handle<Block>,
    leaves: Option<Leaves>,
    /// Where units are larger than granules.
    pub(super) tails: Option<Tails>,
    /// Number of the CPU whose lane has it.
    owner: AtomicUsize,
    /// What it is called itself. Used under the space's lock alone.
    record: Cell<Option<Handle<LentBlock>>>,
    /// The owner's alone: its neighbours.
    pub(super) next: Link,
    pub(super) previous: Link,
    /// The owner's alone: the word that is looked at first. Something was freed there, or has room.
    at: Cell<usize>,
    used: [AtomicU64; WORDS],
    /// What of it goes on with the range of the unit before: nothing, where ranges are single units.
    joined: [AtomicU64; WORDS],
    /// Where ranges begin that others have freed.
    freed: [AtomicU64; WORDS],
    /// Where ranges begin that are nobody's, and not to be chosen again. Used under the space's lock alone.
    kept: Cell<[u64; WORDS]>,
}

// SAFETY: the links are used by the owner alone, or by who has stopped all owners, and `record` and `kept` under the lock; `leaves` and
// `tails` lead to atomic words.
unsafe impl Sync for LentBlock {}
// SAFETY: as above.
unsafe impl Send for LentBlock {}

impl LentBlock {
    /// Nobody's yet.
    pub(super) fn new(
        (start, level): (u64, Level),
        block: Handle<Block>,
        leaves: Option<Leaves>,
        tails: Option<Tails>,
    ) -> Self {
        Self {
            start,
            level,
            block,
            leaves,
            tails,
            owner: AtomicUsize::new(usize::MAX),
            record: Cell::new(None),
            next: Cell::new(None),
            previous: Cell::new(None),
            at: Cell::new(0),
            used: Default::default(),
            joined: Default::default(),
            freed: Default::default(),
            kept: Cell::default(),
        }
    }

    /// Under the space's lock, before anybody finds it.
    pub(super) fn become_of(&self, cpu: Cpu, record: Handle<Self>) {
        self.owner.store(cpu.0, Ordering::Relaxed);
        self.record.set(Some(record));
    }

    #[inline]
    pub(super) fn owner(&self) -> Cpu {
        Cpu(self.owner.load(Ordering::Relaxed))
    }

    /// Under the space's lock.
    pub(super) fn record(&self) -> Option<Handle<Self>> {
        self.record.get()
    }

    /// The entries of so many granules from `granule` on.
    #[inline]
    pub(super) fn entries(&self, granule: u64, granules: usize) -> &[AtomicU64] {
        match self.leaves {
            // SAFETY: the entries are kept for this block until it is taken back, which takes it from whoever calls.
            Some(leaves) => unsafe {
                let unit = self.unit(granule);
                leaves.as_ref().get(unit..unit + granules).unwrap_or(&[])
            },
            None => &[],
        }
    }

    /// Says how many granules the range that begins with `granule` has of its last unit. The owner's to call, before anybody else
    /// has the range.
    #[inline]
    pub(super) fn set_tail(&self, granule: u64, tail: u16) {
        if let Some(it) = self.tail(granule) {
            it.store(tail, Ordering::Relaxed);
        }
    }

    /// How many granules the range of so many units that begins with `granule` has. Of a range that the caller does not have it may
    /// be anything.
    #[inline]
    pub(super) fn granules(&self, granule: u64, units: usize) -> u64 {
        let before_last = (units.saturating_sub(1) as u64) << self.level.unit_log2();
        match self.tail(granule) {
            Some(it) => before_last + u64::from(it.load(Ordering::Relaxed)),
            None => units as u64,
        }
    }

    #[inline]
    fn tail(&self, granule: u64) -> Option<&AtomicU16> {
        // SAFETY: they are kept for this block until it is taken back, which takes it from whoever calls.
        unsafe { self.tails?.words.as_ref().get(self.unit(granule)) }
    }

    /// Whether all of it, in its units, is from the first of these to before the second.
    #[inline]
    pub(super) fn lies_within(&self, (first, end): (u64, u64)) -> bool {
        first <= self.start && self.start + UNITS as u64 <= end
    }

    #[inline]
    pub(super) fn contains(&self, granule: u64) -> bool {
        granule.wrapping_sub(self.start) < UNITS as u64
    }

    #[inline]
    fn unit(&self, granule: u64) -> usize {
        (granule - self.start) as usize % UNITS
    }

    /// Units that are not in use, as far as the owner knows.
    pub(super) fn free_units(&self) -> usize {
        let used = self.used.iter().map(|word| word.load(Ordering::Relaxed));
        UNITS - used.map(|word| word.count_ones() as usize).sum::<usize>()
    }

    /// Whether nothing is in use, as far as the owner knows.
    pub(super) fn is_unused(&self) -> bool {
        let mut used = self.used.iter();
        used.all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// Begins a range of `len` granules where `2^order` are free. The owner's to call.
    #[inline]
    pub(super) fn begin(&self, order: u32, len: usize) -> Option<u64> {
        // What is not so short is a call, so that callers are.
        match order {
            0 => self.begin_one().or_else(|| self.begin_anywhere(order, len)),
            _ => self.begin_long(order, len),
        }
    }

    /// Begins a range of one granule where the word at hand has room: nearly always, and one bit is all there is to it. The owner's to
    /// call.
    #[inline]
    fn begin_one(&self) -> Option<u64> {
        let word = self.at.get() % WORDS;
        let used = self.used[word].load(Ordering::Relaxed);
        if used == u64::MAX {
            return None;
        }
        self.used[word].store(used | (used + 1), Ordering::Relaxed);
        Some(self.start + (word * 64) as u64 + u64::from(used.trailing_ones()))
    }

    /// As [`begin_one`](Self::begin_one), and calls `begin` with the entry, if there are entries; where that says no the range ends
    /// again. The owner's to call.
    #[inline]
    pub(super) fn begin_one_if(&self, begin: impl FnOnce(&[AtomicU64]) -> bool) -> Option<u64> {
        let granule = self.begin_one()?;
        if begin(self.entries(granule, 1)) {
            return Some(granule);
        }
        self.end_range(granule, 1);
        None
    }

    #[inline(never)]
    fn begin_long(&self, order: u32, len: usize) -> Option<u64> {
        let at_hand = self.begin_at_hand(order, len);
        at_hand.or_else(|| self.begin_anywhere(order, len))
    }

    /// As [`begin`](Self::begin), where the word at hand has room, or is one of those that have.
    #[inline]
    fn begin_at_hand(&self, order: u32, len: usize) -> Option<u64> {
        let used = |word: usize| self.used[word % WORDS].load(Ordering::Relaxed);
        let at = self.at.get() % WORDS;
        let unit = match order.checked_sub(WORD_LOG2) {
            None => {
                let runs = units::runs_of(!used(at), order);
                (runs != 0).then(|| at * 64 + runs.trailing_zeros() as usize)
            }
            Some(words_log2) => {
                let first = at >> words_log2 << words_log2;
                let mut words = first..first + (1 << words_log2);
                words.all(|word| used(word) == 0).then_some(first * 64)
            }
        };
        Some(self.take(unit?, len))
    }

    #[inline(never)]
    fn begin_anywhere(&self, order: u32, len: usize) -> Option<u64> {
        let unit = units::find(order, |word| self.used[word].load(Ordering::Relaxed))?;
        self.at.set(unit / 64);
        Some(self.take(unit, len))
    }

    /// Begins the range of `len` granules that are units from this one on, all of which are free.
    #[inline]
    fn take(&self, unit: usize, len: usize) -> u64 {
        self.each_word(unit, len, |word, mask| {
            set(&self.used[word], |used| used | mask);
            // But for the first.
            let first = if word == unit / 64 {
                1 << (unit % 64)
            } else {
                0
            };
            set(&self.joined[word], |joined| joined | mask & !first);
        });
        self.start + unit as u64
    }

    /// Ends a range of `len` granules that begins with `granule`. The owner's to call.
    #[inline]
    pub(super) fn end_range(&self, granule: u64, len: usize) {
        let unit = self.unit(granule);
        let word = unit / 64;
        self.at.set(word);
        match len {
            1 => set(&self.used[word], |used| used & !(1 << (unit % 64))),
            _ => self.end_long(unit, len),
        }
    }

    #[inline(never)]
    fn end_long(&self, unit: usize, len: usize) {
        self.each_word(unit, len, |word, mask| {
            set(&self.used[word], |used| used & !mask);
            set(&self.joined[word], |joined| joined & !mask);
        });
    }

    #[inline]
    fn each_word(&self, unit: usize, len: usize, change: impl Fn(usize, u64)) {
        if unit % 64 + len <= 64 {
            // Nearly always.
            return change(unit / 64 % WORDS, u64::MAX >> (64 - len) << (unit % 64));
        }
        for (word, mask) in units::words_of_run(unit, len) {
            change(word, mask);
        }
    }

    /// Whether the range that begins with `granule` has no more. Of a range that is not the caller's it may be anything.
    #[inline]
    pub(super) fn is_one(&self, granule: u64) -> bool {
        let at = self.unit(granule);
        let bits = |words: &[AtomicU64; WORDS], at: usize| {
            words[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1
        };
        let goes_on = at + 1 < UNITS && bits(&self.joined, at + 1) != 0;
        bits(&self.used, at) > bits(&self.joined, at) && !goes_on
    }

    /// How long the range is that begins with `granule`. What is said of a range that the caller has stays so; of others it may
    /// be anything.
    #[inline]
    pub(super) fn range_at(&self, granule: u64) -> Option<usize> {
        let unit = self.unit(granule);
        let used = |word: usize| self.used[word].load(Ordering::Relaxed);
        let joined = |word: usize| self.joined[word].load(Ordering::Relaxed);
        units::range_at(unit, |word| used(word) & !joined(word), used)
    }

    /// Leaves it to the owner to end the range that begins with `granule`, which the caller has. The block may be gone
    /// afterwards.
    #[inline]
    pub(super) fn leave(&self, granule: u64) {
        let unit = self.unit(granule);
        // Release: what was done with the range was done before the owner finds this.
        self.freed[unit / 64].fetch_or(1 << (unit % 64), Ordering::Release);
    }

    /// Ends the ranges that others have left to the owner, whose it is to call.
    pub(super) fn collect(&self) {
        for (word, freed) in self.freed.iter().enumerate() {
            if freed.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut freed = freed.swap(0, Ordering::Acquire);
            while freed != 0 {
                let unit = word * 64 + freed.trailing_zeros() as usize;
                freed &= freed - 1;
                let granule = self.start + unit as u64;
                if let Some(len) = self.range_at(granule) {
                    self.end_range(granule, len);
                }
            }
        }
    }

    /// The range that begins with `granule` is nobody's any more, and is not to be chosen again. Under the space's lock.
    pub(super) fn keep(&self, granule: u64) {
        let (unit, mut kept) = (self.unit(granule), self.kept.get());
        kept[unit / 64] |= 1 << (unit % 64);
        self.kept.set(kept);
    }

    /// The units at which ranges begin that are [kept](Self::keep). Under the space's lock.
    pub(super) fn kept(&self) -> units::Bits {
        units::Bits::from_words(self.kept.get())
    }

    /// What is in use, where ranges begin. The owner has ended and keeps from beginning any.
    pub(super) fn marks(&self) -> units::Marks {
        let load =
            |words: &[AtomicU64; WORDS]| words.each_ref().map(|word| word.load(Ordering::Relaxed));
        let (used, joined) = (load(&self.used), load(&self.joined));
        let first = core::array::from_fn(|word| used[word] & !joined[word]);
        units::Marks::from_words(used, first)
    }
}

#[inline]
fn set(word: &AtomicU64, change: impl FnOnce(u64) -> u64) {
    // One CPU writes, so it need not be one operation.
    word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}

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
use super::word::{self, Word};
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
    /// log2 of the bytes in one.
    pub(super) unit_log2: u32,
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
    words: [Word; WORDS],
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
        granule_log2: u32,
        block: Handle<Block>,
        leaves: Option<Leaves>,
        tails: Option<Tails>,
    ) -> Self {
        Self {
            start,
            level,
            unit_log2: granule_log2 + level.unit_log2(),
            block,
            leaves,
            tails,
            owner: AtomicUsize::new(usize::MAX),
            record: Cell::new(None),
            next: Cell::new(None),
            previous: Cell::new(None),
            words: Default::default(),
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

    #[inline]
    pub(super) fn contains(&self, granule: u64) -> bool {
        granule.wrapping_sub(self.start) < UNITS as u64
    }

    #[inline]
    fn unit(&self, granule: u64) -> usize {
        (granule - self.start) as usize % UNITS
    }

    /// The word that tells of a unit.
    #[inline]
    pub(super) fn word(&self, granule: u64) -> &Word {
        &self.words[self.unit(granule) / 64]
    }

    /// Units that are not in use, as far as the owner knows.
    pub(super) fn free_units(&self) -> usize {
        let used = self.words.iter().map(Word::used);
        UNITS - used.map(|used| used.count_ones() as usize).sum::<usize>()
    }

    /// Whether nothing is in use, as far as the owner knows.
    pub(super) fn is_unused(&self) -> bool {
        self.words.iter().all(|word| word.used() == 0)
    }

    /// Begins a range of `len` granules in the first place where `2^order` are free. The owner's to call.
    #[inline(never)]
    pub(super) fn begin(&self, order: u32, len: usize) -> Option<u64> {
        let unit = units::find(order, |word| self.words[word].used())?;
        for (word, mask) in units::words_of_run(unit, len) {
            let first = match word == unit >> WORD_LOG2 {
                true => 1 << (unit % 64),
                false => 0,
            };
            self.words[word].take(mask, first);
        }
        Some(self.start + unit as u64)
    }

    /// Ends a range of `len` granules that begins with `granule`. The owner's to call.
    #[inline]
    pub(super) fn end_range(&self, granule: u64, len: usize) {
        match len <= 64 {
            true => self.word(granule).end(self.unit(granule) as u32, len),
            false => self.end_long(granule, len),
        }
    }

    #[inline(never)]
    pub(super) fn end_long(&self, granule: u64, len: usize) {
        let (whole, part) = self.words_of_long(granule, len);
        for word in whole {
            word.give_all();
        }
        if let Some((word, units)) = part {
            word.give(units);
        }
    }

    /// The words of a range that begins where a word does, as all do that have more units than a word or are to be as aligned: those that
    /// it has whole, and the last with its units if it has a part of it.
    #[inline]
    pub(super) fn words_of_long(
        &self,
        granule: u64,
        len: usize,
    ) -> (&[Word], Option<(&Word, u64)>) {
        let first = self.unit(granule) / 64;
        let words = self.words.get(first..).unwrap_or_default();
        let (whole, others) = words.split_at_checked(len / 64).unwrap_or((words, &[]));
        let part = match len % 64 {
            0 => None,
            units => others.first().map(|word| (word, u64::MAX >> (64 - units))),
        };
        (whole, part)
    }

    /// Whether a range of `len` units, which is at least one, begins with `granule`, all of it in one word. Of a range that is not the
    /// caller's it may be anything.
    #[inline(always)]
    pub(super) fn is_range(&self, granule: u64, len: usize) -> bool {
        let unit = self.unit(granule);
        if unit % 64 + len > 64 {
            return false;
        }
        let at = |unit: usize| &self.words[unit / 64 % WORDS];
        let end = unit + len;
        let goes_on = end < UNITS && at(end).joined() >> (end % 64) & 1 != 0;
        let first = at(unit).used() & !at(unit).joined();
        let rest = (word::mask(0, len) & !1) << (unit % 64);
        let is_joined = at(unit).joined() & rest == rest;
        first >> (unit % 64) & 1 != 0 && is_joined && !goes_on
    }

    /// How long the range is that begins with `granule`. What is said of a range that the caller has stays so, whatever the owner begins and
    /// ends beside it: units behind it are joined to none as long as it is there, while which of them are in use changes. Of other ranges
    /// it may be anything.
    #[inline]
    pub(super) fn range_at(&self, granule: u64) -> Option<usize> {
        let unit = self.unit(granule);
        let word = self.word(granule);
        let begins = (word.used() & !word.joined()) >> (unit % 64) & 1 != 0;
        begins.then(|| units::len_from(unit, |word| self.words[word].joined()))
    }

    /// Leaves it to the owner to end the range that begins with `granule`, which the caller has. The block may be gone
    /// afterwards.
    #[inline]
    pub(super) fn leave(&self, granule: u64) {
        self.leave_all(granule, 1 << (self.unit(granule) % 64));
    }

    /// The same of ranges in one word, that of `granule`, by a bit for each where it begins.
    #[inline]
    pub(super) fn leave_all(&self, granule: u64, starts: u64) {
        // Release: what was done with the ranges was done before the owner finds this.
        self.freed[self.unit(granule) / 64].fetch_or(starts, Ordering::Release);
    }

    /// Ends the ranges that others have left to the owner, whose it is to call.
    pub(super) fn collect(&self) {
        for (word, freed) in self.freed.iter().enumerate() {
            if freed.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut freed = freed.swap(0, Ordering::Acquire);
            let it = &self.words[word];
            // No range of several units begins with the last of a word.
            if freed & it.joined() >> 1 == 0 {
                // None of them goes on.
                it.give(freed & !it.joined());
                continue;
            }
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
        let used = self.words.each_ref().map(Word::used);
        let first = self.words.each_ref().map(|it| it.used() & !it.joined());
        units::Marks::from_words(used, first)
    }
}

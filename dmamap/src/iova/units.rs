//! 512 units of bus addresses, free or in use: two bits each.
//!
//! A range of units is found by the size it needs as a power of two, its *order*, at a multiple of that size. Each word of bits
//! keeps the order of the largest run inside it, so that finding one looks at eight bytes and one word, however the units are
//! used, and taking or giving a range back brings no more than the words it touches up to date.

use super::block::Level;

/// log2 of [`UNITS`].
pub(super) const UNITS_LOG2: u32 = 9;
/// How many units one of these has.
pub(super) const UNITS: usize = 1 << UNITS_LOG2;

/// log2 of the units that a word has a bit for.
pub(super) const WORD_LOG2: u32 = u64::BITS.ilog2();
/// The most units of a range that one word tells of.
pub(super) const IN_WORD: u64 = 1 << WORD_LOG2;
/// Words of a bit for each.
pub(super) const WORDS: usize = UNITS >> WORD_LOG2;

/// The bits at multiples of 2, 4, 8, 16 and 32.
const MULTIPLES: [u64; WORD_LOG2 as usize - 1] = [
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
];

/// The bits at multiples of 1, 2, 4, 8, 16, 32 and 64.
const ONES: [u64; WORD_LOG2 as usize + 1] = [
    u64::MAX,
    MULTIPLES[0],
    MULTIPLES[1],
    MULTIPLES[2],
    MULTIPLES[3],
    MULTIPLES[4],
    1,
];

/// The words at multiples of 2, 4 and 8.
const WORD_MULTIPLES: [u8; (UNITS_LOG2 - WORD_LOG2) as usize] = [0x55, 0x11, 0x01];

/// Which of 512 units are in use, and where ranges of them begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    used: Bits,
    first: Bits,
    free: u16,
}

/// [`Marks`] that know of each word of theirs how much is free in it.
#[derive(Clone, Copy)]
pub(super) struct Units {
    marks: Marks,
    /// Of each word: one more than the order of its largest free run; 0 where it has none.
    runs: [u8; WORDS],
}

/// A bit for each unit.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    /// Those that are set in these words.
    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    pub(super) fn contains(&self, unit: usize) -> bool {
        self.0[unit >> WORD_LOG2] & 1 << (unit % 64) != 0
    }

    pub(super) fn insert(&mut self, unit: usize) {
        self.0[unit >> WORD_LOG2] |= 1 << (unit % 64);
    }

    pub(super) fn remove(&mut self, unit: usize) {
        self.0[unit >> WORD_LOG2] &= !(1 << (unit % 64));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Those of both.
    pub(super) fn join(&mut self, other: Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    /// The units in it, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            core::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some((at << WORD_LOG2) + bit as usize)
            })
        })
    }
}

impl Units {
    /// All free.
    pub(super) const FREE: Self = Self {
        marks: Marks::FREE,
        runs: [WORD_LOG2 as u8 + 1; WORDS],
    };

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The order of the largest free run at a multiple of its size.
    pub(super) fn largest(&self) -> Option<u32> {
        let whole = self.whole_words();
        if whole == 0 {
            let largest = self.runs.iter().max().copied().unwrap_or(0);
            return u32::from(largest).checked_sub(1);
        }
        let orders = WORD_LOG2..=UNITS_LOG2;
        orders.rev().find(|&order| words_of(whole, order) != 0)
    }

    /// Where `2^order` free units begin at a multiple of that.
    pub(super) fn find(&self, order: u32) -> Option<usize> {
        if order >= WORD_LOG2 {
            return first_of_words(self.whole_words(), order);
        }
        let at = self.runs.iter().position(|&run| u32::from(run) > order)?;
        let unit = first_run(self.marks.used.0[at], order)?;
        Some((at << WORD_LOG2) + unit as usize)
    }

    /// A bit for each word that is free as a whole.
    fn whole_words(&self) -> u8 {
        let words = self.runs.iter().enumerate();
        words.fold(0, |whole, (at, &run)| {
            whole | u8::from(u32::from(run) > WORD_LOG2) << at
        })
    }

    /// Begins a range of `len` units at `unit`, all of which are free.
    pub(super) fn take(&mut self, unit: usize, len: usize) {
        self.marks.take(unit, len);
        self.note_runs(unit, len);
    }

    /// Ends the range of `len` units at `unit`.
    pub(super) fn give(&mut self, unit: usize, len: usize) {
        self.marks.give(unit, len);
        self.note_runs(unit, len);
    }

    fn note_runs(&mut self, unit: usize, len: usize) {
        for word in unit >> WORD_LOG2..=(unit + len - 1) >> WORD_LOG2 {
            self.runs[word] = largest_run(!self.marks.used.0[word]);
        }
    }
}

impl From<Marks> for Units {
    fn from(marks: Marks) -> Self {
        let runs = marks.used.0.map(|used| largest_run(!used));
        Self { marks, runs }
    }
}

impl Marks {
    /// All free.
    pub(super) const FREE: Self = Self {
        used: Bits([0; WORDS]),
        first: Bits([0; WORDS]),
        free: UNITS as u16,
    };

    /// Where ranges begin.
    pub(super) fn firsts(&self) -> impl Iterator<Item = usize> {
        self.first.iter()
    }

    pub(super) fn is_unused(&self) -> bool {
        self.free_units() == UNITS
    }

    pub(super) fn free_units(&self) -> usize {
        self.free.into()
    }

    /// The units in use, and those that ranges of them begin with.
    pub(super) fn from_words(used: [u64; WORDS], first: [u64; WORDS]) -> Self {
        let taken: u32 = used.iter().map(|word| word.count_ones()).sum();
        Self {
            used: Bits(used),
            first: Bits(first),
            free: UNITS as u16 - taken as u16,
        }
    }

    /// As [`Units::find`], looking at every word.
    #[inline]
    pub(super) fn find(&self, order: u32) -> Option<usize> {
        find(order, |word| self.used.0[word])
    }

    /// Begins a range of `len` units at `unit`, all of which are free.
    #[inline]
    pub(super) fn take(&mut self, unit: usize, len: usize) {
        self.first.insert(unit);
        self.each_word(unit, len, |used, mask| {
            debug_assert_eq!(*used & mask, 0);
            *used |= mask;
        });
        self.free -= len as u16;
    }

    /// Ends the range of `len` units at `unit`.
    #[inline]
    pub(super) fn give(&mut self, unit: usize, len: usize) {
        self.first.remove(unit);
        self.each_word(unit, len, |used, mask| {
            debug_assert_eq!(*used & mask, mask);
            *used &= !mask;
        });
        self.free += len as u16;
    }

    #[inline]
    fn each_word(&mut self, unit: usize, len: usize, mut change: impl FnMut(&mut u64, u64)) {
        for (word, mask) in words_of_run(unit, len) {
            change(&mut self.used.0[word], mask);
        }
    }

    /// How long the range that begins at `unit` is.
    pub(super) fn range_at(&self, unit: usize) -> Option<usize> {
        let goes_on = |word: usize| self.used.0[word] & !self.first.0[word];
        self.first.contains(unit).then(|| len_from(unit, goes_on))
    }

    /// How many ranges are in use, and how many granules they have, of which `len` tells of the range that begins in a unit and has so many; of
    /// units that are granules it is not asked.
    pub(super) fn count(&self, level: Level, len: impl Fn(usize, usize) -> u64) -> (u64, u64) {
        let ranges: u32 = self.first.0.iter().map(|word| word.count_ones()).sum();
        let granules = match level {
            Level::Granules => (UNITS - self.free_units()) as u64,
            Level::Blocks => {
                let units = |unit| self.range_at(unit).unwrap_or(1);
                self.firsts().map(|unit| len(unit, units(unit))).sum()
            }
        };
        (ranges.into(), granules)
    }

    /// A bit for each unit that is free.
    pub(super) fn free_words(&self) -> [u64; WORDS] {
        self.used.0.map(|used| !used)
    }

    /// The free units around one that is free: the first, and one past the last.
    pub(super) fn run_around(&self, unit: usize) -> (usize, usize) {
        let mut at = unit >> WORD_LOG2;
        let mut before = self.used.0[at] << (63 - unit % 64);
        let mut first = unit;
        while before == 0 && at > 0 {
            at -= 1;
            first = (at << WORD_LOG2) + 63;
            before = self.used.0[at];
        }
        let first = match before {
            0 => 0,
            before => first + 1 - before.leading_zeros() as usize,
        };
        (first, self.next(unit, Use::Taken))
    }

    /// The first unit from `unit` on that is in use, if `wanted` is [`Use::Taken`], or free; [`UNITS`] where none is.
    pub(super) fn next(&self, unit: usize, wanted: Use) -> usize {
        let mut at = unit;
        while at < UNITS {
            let used = self.used.0[at >> WORD_LOG2];
            let word = match wanted {
                Use::Taken => used,
                Use::Free => !used,
            };
            let found = word >> (at % 64);
            if found != 0 {
                return at + found.trailing_zeros() as usize;
            }
            at = (at | 63) + 1;
        }
        UNITS
    }
}

/// What a unit is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Part of a range.
    Taken,
    /// Nobody's.
    Free,
}

/// Where `2^order` units begin, at a multiple of that, none of which is in a word of `used`.
#[inline]
pub(super) fn find(order: u32, used: impl Fn(usize) -> u64) -> Option<usize> {
    if order >= WORD_LOG2 {
        let whole = |whole, word| whole | u8::from(used(word) == 0) << word;
        return first_of_words((0..WORDS).fold(0, whole), order);
    }
    (0..WORDS).find_map(|word| {
        let unit = first_run(used(word), order)?;
        Some((word << WORD_LOG2) + unit as usize)
    })
}

/// The first bit, at a multiple of `2^order`, from which on as many are in no use; no more than the word has.
///
/// The word is taken for a row of numbers of `2^order` bits each, of which 1 is taken away. The lowest number that is 0 is the lowest whose
/// topmost bit becomes set without having been so: those below have something to take it from, and borrow nothing.
#[inline]
pub(super) fn first_run(used: u64, order: u32) -> Option<u32> {
    let ones = *ONES.get(order as usize)?;
    let topmost = ones.rotate_right(1);
    let zeros = used.wrapping_sub(ones) & !used & topmost;
    (zeros != 0).then(|| zeros.trailing_zeros() >> order << order)
}

/// The words that `len` units from `unit` on are in, and which bits of each they are.
#[inline]
pub(super) fn words_of_run(unit: usize, len: usize) -> impl Iterator<Item = (usize, u64)> {
    let (mut at, end) = (unit, unit + len);
    core::iter::from_fn(move || {
        let (low, len) = (at % 64, (end - at).min(64 - at % 64));
        let word = at >> WORD_LOG2;
        at += len;
        (len > 0).then(|| (word, u64::MAX >> (64 - len) << low))
    })
}

/// How long the range is that begins at `unit`: to the next unit that is in no word of `goes_on`, as those are in which a range goes on.
#[inline]
pub(super) fn len_from(unit: usize, goes_on: impl Fn(usize) -> u64) -> usize {
    let mut word = unit >> WORD_LOG2;
    let mut found = !goes_on(word) & (u64::MAX - 1) << (unit % 64);
    while found == 0 {
        word += 1;
        if word == WORDS {
            return UNITS - unit;
        }
        found = !goes_on(word);
    }
    (word << WORD_LOG2) + found.trailing_zeros() as usize - unit
}

/// The first unit of the first of these words at which `2^order` units begin, no fewer than a word has.
fn first_of_words(whole: u8, order: u32) -> Option<usize> {
    let words = words_of(whole, order);
    (words != 0).then(|| (words.trailing_zeros() as usize) << WORD_LOG2)
}

/// The words of `whole` at which `2^order` units begin.
fn words_of(whole: u8, order: u32) -> u8 {
    let steps = WORD_MULTIPLES.iter().enumerate();
    let steps = steps.take((order - WORD_LOG2) as usize);
    steps.fold(whole, |words, (n, multiples)| {
        words & words >> (1 << n) & multiples
    })
}

/// One more than the order of the largest run of ones at a multiple of its size; 0 where there is none.
fn largest_run(free: u64) -> u8 {
    if free == u64::MAX {
        return WORD_LOG2 as u8 + 1;
    }
    let (mut runs, mut order) = (free, 0);
    while runs != 0 {
        let multiples = MULTIPLES.get(order).copied().unwrap_or(0);
        runs &= runs >> (1u64 << order) & multiples;
        order += 1;
    }
    order as u8
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The same, unit by unit.
    struct Oracle([Option<usize>; UNITS]);

    impl Oracle {
        fn is_free(&self, unit: usize, len: usize) -> bool {
            self.0[unit..unit + len].iter().all(Option::is_none)
        }

        fn places(&self, order: u32) -> impl Iterator<Item = usize> {
            let size = 1 << order;
            (0..UNITS)
                .step_by(size)
                .filter(move |&unit| self.is_free(unit, size))
        }
    }

    #[test]
    fn random_ranges_agree_with_an_oracle() {
        let mut state = 7u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % below
        };
        for round in 0..40 {
            let (mut units, mut oracle) = (Units::FREE, Oracle([None; UNITS]));
            let mut live: Vec<(usize, usize)> = Vec::new();
            for _ in 0..800 {
                let longest = [3, 20, 130, 512][round % 4];
                let len = 1 + random(longest);
                let order = len.next_power_of_two().trailing_zeros();
                if random(5) < 3 {
                    let found = units.find(order);
                    assert_eq!(found, oracle.places(order).next(), "order {order}");
                    assert_eq!(units.marks.find(order), found, "order {order}");
                    if let Some(at) = found {
                        units.take(at, len);
                        oracle.0[at..at + len].fill(Some(at));
                        live.push((at, len));
                    }
                } else if !live.is_empty() {
                    let (at, len) = live.swap_remove(random(live.len()));
                    units.give(at, len);
                    oracle.0[at..at + len].fill(None);
                }
                let largest = (0..=UNITS_LOG2)
                    .rev()
                    .find(|&order| oracle.places(order).next().is_some());
                assert_eq!(units.largest(), largest);
                assert_eq!(Units::from(units.marks).runs, units.runs);
                for &(at, len) in &live {
                    assert_eq!(units.marks.range_at(at), Some(len));
                    assert!(len == 1 || units.marks.range_at(at + 1).is_none());
                }
                let from = random(UNITS);
                let free = (from..UNITS).find(|&unit| oracle.0[unit].is_none());
                assert_eq!(units.marks.next(from, Use::Free), free.unwrap_or(UNITS));
                let taken = (from..UNITS).find(|&unit| oracle.0[unit].is_some());
                assert_eq!(units.marks.next(from, Use::Taken), taken.unwrap_or(UNITS));
            }
            for (at, len) in live.drain(..) {
                units.give(at, len);
            }
            assert!(units.marks.is_unused() && units.largest() == Some(UNITS_LOG2));
        }
    }

    #[test]
    fn bits_are_told_in_order() {
        let mut bits = Bits::default();
        for unit in [511, 0, 64, 63] {
            bits.insert(unit);
        }
        let mut more = Bits::default();
        more.insert(65);
        bits.join(more);
        bits.remove(0);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [63, 64, 65, 511]);
        assert!(!bits.is_empty() && bits.contains(65) && !bits.contains(0));
    }
}

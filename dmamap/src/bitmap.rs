//! Runs of equal units, free or taken: a bit for each, searched from where the last run was found.
//!
//! Contiguous areas, declared memory and atomic pools are divided by it. The bits lie in the CPU's own memory, never in what
//! they divide: a device cannot change who owns what.

use alloc::vec::Vec;

/// Which units are taken.
pub(crate) struct Bitmap {
    words: Vec<u64>,
    units: usize,
    taken: usize,
    /// Where the next search begins.
    next: usize,
}

/// What runs a search may find.
#[derive(Clone, Copy)]
pub(crate) struct RunRequest {
    /// Units of the run, at least 1.
    pub(crate) units: usize,
    /// Its first unit's number plus [`phase`](Self::phase) is a multiple of this power of two.
    pub(crate) align: usize,
    /// What stands for the alignment of unit 0.
    pub(crate) phase: usize,
    /// The run ends before this unit.
    pub(crate) end: usize,
}

/// There is no memory for the bits of so many units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemoryForBits;

const BITS: usize = u64::BITS as usize;

impl Bitmap {
    /// `units` units, all free.
    pub(crate) fn new(units: usize) -> Result<Self, NoMemoryForBits> {
        let mut words = Vec::new();
        let len = units.div_ceil(BITS);
        words.try_reserve_exact(len).map_err(|_| NoMemoryForBits)?;
        words.resize(len, 0);
        Ok(Self {
            words,
            units,
            taken: 0,
            next: 0,
        })
    }

    pub(crate) fn units(&self) -> usize {
        self.units
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes a free run: the first one behind the last that was taken, else the first of all. Looks at each word of bits
    /// twice at the most.
    pub(crate) fn take(&mut self, request: RunRequest) -> Option<usize> {
        let found = self
            .search(self.next, request)
            .or_else(|| self.search(0, request))?;
        self.set(found, request.units, true);
        self.taken += request.units;
        self.next = found + request.units;
        Some(found)
    }

    /// Gives a run back that was taken, whole.
    pub(crate) fn give(&mut self, first: usize, units: usize) {
        debug_assert_eq!(self.first_free(first, first + units), None);
        self.set(first, units, false);
        self.taken -= units;
    }

    /// The longest free run, in units.
    pub(crate) fn longest_free(&self) -> usize {
        let (mut longest, mut at) = (0, 0);
        while let Some(start) = self.first_free(at, self.units) {
            let end = self.first_taken(start, self.units).unwrap_or(self.units);
            longest = longest.max(end - start);
            at = end;
        }
        longest
    }

    fn search(&self, from: usize, request: RunRequest) -> Option<usize> {
        let end = request.end.min(self.units);
        let mut start = from;
        loop {
            start = self.first_free(start, end)?;
            start =
                (start + request.phase).checked_next_multiple_of(request.align)? - request.phase;
            let stop = start
                .checked_add(request.units)
                .filter(|&stop| stop <= end)?;
            match self.first_taken(start, stop) {
                None => return Some(start),
                Some(taken) => start = taken + 1,
            }
        }
    }

    fn first_free(&self, from: usize, end: usize) -> Option<usize> {
        self.first(from, end, u64::MAX)
    }

    fn first_taken(&self, from: usize, end: usize) -> Option<usize> {
        self.first(from, end, 0)
    }

    /// The first bit from `from` on, before `end`, that is set after its word was changed by `invert`.
    fn first(&self, from: usize, end: usize, invert: u64) -> Option<usize> {
        if from >= end {
            return None;
        }
        let mut mask = u64::MAX << (from % BITS);
        for index in from / BITS..end.div_ceil(BITS) {
            let word = (self.words[index] ^ invert) & mask;
            if word != 0 {
                let found = index * BITS + word.trailing_zeros() as usize;
                return (found < end).then_some(found);
            }
            mask = u64::MAX;
        }
        None
    }

    fn set(&mut self, first: usize, units: usize, taken: bool) {
        let (mut at, end) = (first, first + units);
        while at < end {
            let bit = at % BITS;
            let here = (BITS - bit).min(end - at);
            let mask = (u64::MAX >> (BITS - here)) << bit;
            match taken {
                true => self.words[at / BITS] |= mask,
                false => self.words[at / BITS] &= !mask,
            }
            at += here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn request(units: usize, align: usize, phase: usize, end: usize) -> RunRequest {
        RunRequest {
            units,
            align,
            phase,
            end,
        }
    }

    /// Every run that meets the request, found by trying all.
    fn fitting(taken: &[bool], r: RunRequest) -> Vec<usize> {
        (0..taken.len())
            .filter(|&at| {
                at + r.units <= r.end.min(taken.len())
                    && (at + r.phase).is_multiple_of(r.align)
                    && !taken[at..at + r.units].contains(&true)
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_run_is_found_exactly_where_there_is_one(
            units in 1_usize..300,
            steps in prop::collection::vec((1_usize..40, 0_u32..6, 0_usize..70, 0_usize..320, any::<u16>()), 1..120),
        ) {
            let mut bitmap = Bitmap::new(units).unwrap();
            let mut taken = vec![false; units];
            let mut runs: Vec<(usize, usize)> = Vec::new();
            let mut next = 0;
            for (len, align_log2, phase, end, pick) in steps {
                let wanted = request(len, 1 << align_log2, phase, end);
                let all = fitting(&taken, wanted);
                let found = bitmap.take(wanted);
                let expected = all.iter().find(|&&at| at >= next).or(all.first()).copied();
                prop_assert_eq!(found, expected);
                if let Some(at) = found {
                    taken[at..at + len].fill(true);
                    runs.push((at, len));
                    next = at + len;
                }
                if pick % 3 == 0 && !runs.is_empty() {
                    let (at, len) = runs.swap_remove(pick as usize % runs.len());
                    bitmap.give(at, len);
                    taken[at..at + len].fill(false);
                }
                prop_assert_eq!(bitmap.taken(), taken.iter().filter(|&&one| one).count());
                let longest = taken.split(|&one| one).map(<[bool]>::len).max().unwrap_or(0);
                prop_assert_eq!(bitmap.longest_free(), longest);
            }
        }
    }

    #[test]
    fn alignments_and_ends_beyond_all_numbers_find_nothing() {
        let mut bitmap = Bitmap::new(8).unwrap();
        assert_eq!(bitmap.take(request(usize::MAX, 1, 0, usize::MAX)), None);
        assert_eq!(bitmap.take(request(1, 1 << 63, 1, usize::MAX)), None);
        assert_eq!(bitmap.take(request(1, 1, 0, 0)), None);
        assert_eq!(bitmap.take(request(8, 1, 0, usize::MAX)), Some(0));
        assert_eq!(bitmap.taken(), 8);
    }
}

//! Ranges as they are noted: in a word each, nearly all of them.
//!
//! What begins at a page leaves twelve bits of its address free, for how many pages it is. What has more pages than these bits can say has
//! none of them set, and its bytes in the next word. What one CPU notes another reads, so each word less is a part of a cache line less to move.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES};

/// Words that a range takes at most.
pub(super) const MOST_WORDS: usize = 2;

/// The low bits of a word, which have the number of pages.
const PAGES: u64 = FRAME_BYTES - 1;

/// A range of whole pages in a word; `None` where it takes two.
#[inline]
pub(super) fn in_a_word(range: BusRange) -> Option<u64> {
    let pages = range.len_bytes() / FRAME_BYTES;
    (pages <= PAGES).then_some(range.start().as_u64() | pages)
}

/// The two words of a range that [one](in_a_word) does not have.
pub(super) fn in_two_words(range: BusRange) -> [u64; MOST_WORDS] {
    [range.start().as_u64(), range.len_bytes()]
}

/// The ranges that `words` have, in their order.
#[inline]
pub(super) fn ranges(mut words: impl Iterator<Item = u64>) -> impl Iterator<Item = BusRange> {
    core::iter::from_fn(move || {
        let first = words.next()?;
        let len_bytes = match first & PAGES {
            0 => words.next()?,
            pages => pages * FRAME_BYTES,
        };
        let start = BusAddr::new(first & !PAGES);
        Some(BusRange::of_existing(start, len_bytes))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn ranges_are_what_they_were() {
        let lens = [1, 2, 64, 4094, 4095, 4096, 4097, 1 << 20, 1, 1 << 36, 3];
        let mut start = 0;
        let noted: Vec<_> = lens
            .iter()
            .map(|pages| {
                let range = BusRange::new(BusAddr::new(start), pages * FRAME_BYTES).unwrap();
                start += pages * FRAME_BYTES + FRAME_BYTES;
                range
            })
            .collect();
        let mut words = Vec::new();
        for &range in &noted {
            match in_a_word(range) {
                Some(word) => words.push(word),
                None => words.extend(in_two_words(range)),
            }
        }
        assert_eq!(words.len(), lens.len() + 4);
        let read: Vec<_> = ranges(words.iter().copied()).collect();
        assert_eq!(read, noted);
    }
}

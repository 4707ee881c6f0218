//! Which pages of the area are taken: first fit, with an unmapped guard page after each run.

use std::collections::BTreeMap;

use super::budget::Budget;

pub(super) struct Space {
    /// Free runs: first page → pages. Neighbours are joined.
    free: BTreeMap<usize, usize>,
    taken: BTreeMap<usize, Taken>,
}

struct Taken {
    pages: usize,
    /// Given back with the pages.
    _budget: Budget,
}

impl Space {
    pub(super) fn new(pages: usize) -> Self {
        Self {
            free: BTreeMap::from([(0, pages)]),
            taken: BTreeMap::new(),
        }
    }

    /// Takes `pages` pages and a guard page; returns the first.
    pub(super) fn take(&mut self, pages: usize, budget: Budget) -> Option<usize> {
        let with_guard = pages.checked_add(1).filter(|_| pages != 0)?;
        let (&first, &len) = self.free.iter().find(|(_, len)| **len >= with_guard)?;
        self.free.remove(&first);
        if len > with_guard {
            self.free.insert(first + with_guard, len - with_guard);
        }
        self.taken.insert(
            first,
            Taken {
                pages,
                _budget: budget,
            },
        );
        Some(first)
    }

    /// Whether exactly these pages were taken together.
    pub(super) fn is_taken(&self, first: usize, pages: usize) -> bool {
        self.taken
            .get(&first)
            .is_some_and(|taken| taken.pages == pages)
    }

    /// Gives back what [`take`](Self::take) returned.
    pub(super) fn give_back(&mut self, first: usize, pages: usize) {
        self.taken.remove(&first);
        let (mut start, mut len) = (first, pages + 1);
        if let Some(after) = self.free.remove(&(start + len)) {
            len += after;
        }
        if let Some((&before, &before_len)) = self.free.range(..start).next_back()
            && before + before_len == start
        {
            self.free.remove(&before);
            (start, len) = (before, before_len + len);
        }
        self.free.insert(start, len);
    }

    /// Number of runs taken.
    pub(super) fn taken_count(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(space: &mut Space, pages: usize) -> Option<usize> {
        space.take(pages, Budget::take(1).unwrap())
    }

    #[test]
    fn runs_are_guarded_and_join_again() {
        let mut space = Space::new(16);
        assert_eq!(take(&mut space, 0), None);
        assert_eq!(take(&mut space, 3), Some(0));
        assert_eq!(take(&mut space, 3), Some(4));
        assert_eq!(take(&mut space, 7), Some(8));
        assert_eq!(take(&mut space, 1), None);
        assert!(space.is_taken(4, 3) && !space.is_taken(4, 2) && !space.is_taken(5, 2));
        for (first, pages) in [(0, 3), (8, 7), (4, 3)] {
            space.give_back(first, pages);
        }
        assert_eq!(take(&mut space, 15), Some(0));
    }
}

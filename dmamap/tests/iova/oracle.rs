//! What is live, by the page: no two ranges are to overlap.

use std::collections::BTreeMap;

use dmamap::addr::BusRange;

use crate::PAGE;

/// What is live: the first page of each range, and how many it has.
#[derive(Default)]
pub(crate) struct Oracle(pub(crate) BTreeMap<u64, u64>);

impl Oracle {
    pub(crate) fn overlaps(&self, start: u64, count: u64) -> bool {
        let before = self.0.range(..start + count).next_back();
        before.is_some_and(|(&first, &len)| first + len > start)
    }

    pub(crate) fn insert(&mut self, range: BusRange) {
        let (start, count) = (range.start().as_u64() / PAGE, range.len_bytes() / PAGE);
        assert!(start > 0 && !self.overlaps(start, count), "{range} twice");
        self.0.insert(start, count);
    }

    pub(crate) fn remove(&mut self, range: BusRange) {
        let count = self.0.remove(&(range.start().as_u64() / PAGE));
        assert_eq!(count, Some(range.len_bytes() / PAGE), "{range}");
    }

    /// Whether so many pages are free side by side before `end`, in one block of so many: free runs that meet where two blocks do
    /// are not seen as one.
    pub(crate) fn has_room(&self, count: u64, end: u64, block: u64) -> bool {
        let fits = |start: u64, end: u64| {
            let next_block = (start / block + 1) * block;
            let rest = end.saturating_sub(next_block);
            let first = next_block.min(end).saturating_sub(start);
            first >= count || rest.min(block) >= count
        };
        let mut start = 1;
        for (&first, &len) in &self.0 {
            if fits(start, first) {
                return true;
            }
            start = first + len;
        }
        fits(start, end)
    }
}

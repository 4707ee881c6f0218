//! The worst single allocation: two pages, where all free space but the far end is holes of one page.

use super::IovaAllocator;
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};
use crate::statistics::Summary;

/// Allocations in a sample, at most.
const MOST: usize = 64;

/// Two pages over `holes` holes of one page, each between two pages that are live.
///
/// Before each sample the page that was allocated first is freed and allocated again, unless that moves it: who
/// remembers where to go on looking then begins at the end where the holes are.
///
/// # Errors
/// [`PeersError::Failed`] when an allocator does not what it should.
pub fn worst(
    allocators: Vec<Box<dyn IovaAllocator>>,
    holes: u64,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let timer = Timer::calibrated();
    let mut contestants = Vec::new();
    for allocator in allocators {
        if holes > allocator.most_holes() {
            continue;
        }
        allocator.enter_thread(0);
        let mut holey = Holey::new(allocator, holes)?;
        contestants.push(Contestant {
            peer: holey.allocator.peer(),
            sample: Box::new(move || Ok(vec![holey.sample(&timer, effort)?])),
        });
    }
    measure(contestants, effort)
}

/// An allocator whose free space is holes.
struct Holey {
    allocator: Box<dyn IovaAllocator>,
    /// The page allocated first.
    foremost: u64,
}

impl Holey {
    fn new(allocator: Box<dyn IovaAllocator>, holes: u64) -> Result<Self, PeersError> {
        let failed = || PeersError::failed(allocator.peer(), "make holes");
        let page = |_| allocator.allocate(1).ok_or_else(failed);
        // Wherever an allocator begins: pages that follow each other, from one end of the aperture on.
        let mut pages = (0..=2 * holes).map(page).collect::<Result<Vec<_>, _>>()?;
        let foremost = pages[0];
        let last = pages[pages.len() - 1];
        pages.sort_unstable();
        if last < foremost {
            pages.reverse();
        }
        for page in pages.iter().skip(1).step_by(2) {
            if !allocator.free_for_all(*page, 1) {
                return Err(failed());
            }
        }
        Ok(Self {
            foremost: pages[0],
            allocator,
        })
    }

    /// The median of as many as fit a sample. The first does not count: others have had the CPU's caches meanwhile.
    fn sample(&mut self, timer: &Timer, effort: Effort) -> Result<f64, PeersError> {
        let first = self.allocate_two(timer)?;
        let count = (effort.sample_ns as f64 / first.max(1.0)) as usize;
        let took = (0..count.clamp(1, MOST)).map(|_| self.allocate_two(timer));
        let took = took.collect::<Result<Vec<_>, _>>()?;
        Ok(Summary::of(&took).map_or(first, |summary| summary.median))
    }

    fn allocate_two(&mut self, timer: &Timer) -> Result<f64, PeersError> {
        let failed = || PeersError::failed(self.allocator.peer(), "allocate two pages");
        self.allocator.free_for_all(self.foremost, 1);
        self.foremost = self.allocator.allocate(1).ok_or_else(failed)?;
        let mut first = None;
        let ns = timer.time(|| first = self.allocator.allocate(2));
        match first.is_some_and(|first| self.allocator.free_for_all(first, 2)) {
            true => Ok(ns),
            false => Err(failed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iova::{Ours, all};

    #[test]
    fn only_holes_of_one_page_are_left_and_stay() {
        let mut holey = Holey::new(Box::new(Ours::new().unwrap()), 100).unwrap();
        let timer = Timer::calibrated();
        let foremost = holey.foremost;
        for _ in 0..10 {
            holey.allocate_two(&timer).unwrap();
            assert_eq!(holey.foremost, foremost);
        }
        // Behind the 201 pages, at an even one.
        let two = holey.allocator.allocate(2).unwrap();
        assert_eq!(two, foremost + 202);
        // All that is free in the block of 512 pages that they are in, whatever comes first: what lies before the two are holes.
        let pages = (0..512 - 101 - 2).map(|_| holey.allocator.allocate(1).unwrap());
        let mut holes: Vec<_> = pages.filter(|page| *page < two).collect();
        holes.sort_unstable();
        let expected: Vec<u64> = (1..=100).map(|n| 2 * n - 1).chain([201]).collect();
        assert_eq!(
            holes,
            expected.iter().map(|n| foremost + n).collect::<Vec<_>>()
        );
    }

    #[test]
    fn all_find_two_pages() {
        let effort = Effort {
            warm_up: 1,
            rounds: 3,
            sample_ns: 1,
        };
        let took = worst(all(None).unwrap(), 50, effort).unwrap();
        assert_eq!(took.len(), 4);
        assert_eq!(worst(all(None).unwrap(), 1001, effort).unwrap().len(), 2);
    }
}

//! Who chooses bus addresses, and the loads for it.
//!
//! - [`IovaAllocator`] is what all have in common
//! - [`Ours`] is `dmamap`'s; [`VmAllocator`], [`Buddy`] and [`RangeAlloc`] are published crates;
//!   [`LinuxIova`](crate::linux::LinuxIova) is Linux's
//! - [`pair`], [`owned_pair`], [`worst`] and [`two_threads`] are the loads
//!
//! ```
//! use peers::iova::{IovaAllocator, Ours};
//!
//! let ours = Ours::new()?;
//! let first = ours.allocate(16).ok_or("exhausted")?;
//! assert_eq!(first % 16, 0);
//! assert!(ours.free(first, 16));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buddy;
mod ours;
mod pair;
mod range_alloc;
mod threads;
mod vm_allocator;
mod worst;

pub use buddy::Buddy;
pub use ours::Ours;
pub use pair::{owned_pair, pair};
pub use range_alloc::RangeAlloc;
pub use threads::two_threads;
pub use vm_allocator::VmAllocator;
pub use worst::worst;

use crate::PeersError;
use crate::linux::Linux;

/// log2 of the bytes of a page: addresses and lengths are multiples of it.
pub const PAGE_LOG2: u32 = 12;

/// log2 of the first address that is not to be had.
pub const APERTURE_LOG2: u32 = 48;

/// The pages there are.
const PAGES: u64 = 1 << (APERTURE_LOG2 - PAGE_LOG2);

/// One domain's bus addresses, in pages. Each call takes the lock that a kernel would have it take.
pub trait IovaAllocator: Send + Sync {
    /// The name in the figures.
    fn peer(&self) -> &'static str;

    /// The first of `pages` pages, a power of two, aligned to as many; never page 0. `None` when there are none.
    fn allocate(&self, pages: u64) -> Option<u64>;

    /// Takes them back; whether they were allocated, where that is known.
    fn free(&self, first: u64, pages: u64) -> bool;

    /// As [`free`](Self::free), past all caches: the next one who looks for space finds it.
    fn free_for_all(&self, first: u64, pages: u64) -> bool {
        self.free(first, pages)
    }

    /// The calling thread is CPU `number`, from 0 on; whether there is such a one.
    fn enter_thread(&self, _number: usize) -> bool {
        true
    }

    /// With more ranges live, building the load up would take minutes.
    fn most_live(&self) -> u64 {
        u64::MAX
    }

    /// With more holes, building the load up would take minutes.
    fn most_holes(&self) -> u64 {
        self.most_live()
    }
}

/// All there are: ours first. Others of their kind were [checked](check), so that these are as new.
///
/// # Errors
/// [`PeersError::Failed`] without memory, or when one does not what it should.
pub fn all(linux: Option<Linux>) -> Result<Vec<Box<dyn IovaAllocator>>, PeersError> {
    for allocator in fresh(linux)? {
        check(allocator.as_ref())?;
    }
    fresh(linux)
}

fn fresh(linux: Option<Linux>) -> Result<Vec<Box<dyn IovaAllocator>>, PeersError> {
    let mut all: Vec<Box<dyn IovaAllocator>> = vec![Box::new(Ours::new()?)];
    if let Some(linux) = linux {
        all.push(Box::new(linux.iova_domain()?));
    }
    all.push(Box::new(VmAllocator::new()?));
    all.push(Box::new(Buddy::new()));
    all.push(Box::new(RangeAlloc::new()));
    Ok(all)
}

/// Whether an allocator does what it should, before it is timed.
///
/// # Errors
/// [`PeersError::Failed`] if not.
pub fn check(allocator: &dyn IovaAllocator) -> Result<(), PeersError> {
    let peer = allocator.peer();
    let mut live: Vec<(u64, u64)> = Vec::new();
    for round in 0..3 {
        for pages in [1, 64, 2, 1, 16, 512] {
            let first = allocator.allocate(pages);
            let first = first.ok_or(PeersError::failed(peer, "allocate"))?;
            let fits = first > 0 && first % pages == 0 && first + pages <= PAGES;
            let overlaps =
                |&(other, len): &(u64, u64)| first < other + len && other < first + pages;
            if !fits || live.iter().any(overlaps) {
                return Err(PeersError::failed(peer, "keep ranges apart"));
            }
            live.push((first, pages));
        }
        // Every other one goes, and is to be had again.
        let keep = |n: usize| round < 2 && n.is_multiple_of(2);
        let (kept, freed): (Vec<_>, Vec<_>) = live.iter().enumerate().partition(|(n, _)| keep(*n));
        for &(_, &(first, pages)) in &freed {
            if !allocator.free(first, pages) {
                return Err(PeersError::failed(peer, "free"));
            }
        }
        live = kept.into_iter().map(|(_, range)| *range).collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keep_ranges_apart() {
        let all = all(None).unwrap();
        let names: Vec<_> = all.iter().map(|allocator| allocator.peer()).collect();
        assert_eq!(names, ["dmamap", "vm-allocator", "buddy", "range-alloc"]);
        for allocator in &all {
            check(allocator.as_ref()).unwrap();
            // It may be used before.
            check(allocator.as_ref()).unwrap();
        }
    }

    /// Hands out the same page again and again.
    struct Broken;

    impl IovaAllocator for Broken {
        fn peer(&self) -> &'static str {
            "broken"
        }

        fn allocate(&self, _pages: u64) -> Option<u64> {
            Some(512)
        }

        fn free(&self, _first: u64, _pages: u64) -> bool {
            true
        }
    }

    #[test]
    fn one_that_does_not_is_noticed() {
        let error = check(&Broken).unwrap_err();
        assert_eq!(error.to_string(), "broken could not keep ranges apart");
    }
}

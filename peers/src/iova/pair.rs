//! A pair: allocate and free again, while others are live.

use super::{IovaAllocator, PAGE_LOG2};
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};

/// Pairs between two looks at the clock, at most.
const MOST_PAIRS: u64 = 1 << 16;

/// A pair of `len_bytes`, with `live` ranges of the same length allocated one after another before.
///
/// # Errors
/// [`PeersError::Failed`] when an allocator does not what it should.
pub fn pair(
    allocators: Vec<Box<dyn IovaAllocator>>,
    len_bytes: u64,
    live: u64,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let pages = len_bytes >> PAGE_LOG2;
    let timer = Timer::calibrated();
    let mut contestants = Vec::new();
    for allocator in allocators {
        if live > allocator.most_live() {
            continue;
        }
        allocator.enter_thread(0);
        let peer = allocator.peer();
        for _ in 0..live {
            let first = allocator.allocate(pages);
            first.ok_or(PeersError::failed(peer, "allocate what is to be live"))?;
        }
        let run = move |pairs: u64| {
            let mut done = 0;
            let ns = timer.time(|| done = run_pairs(allocator.as_ref(), pages, pairs));
            match done == pairs {
                true => Ok(ns / pairs as f64),
                false => Err(PeersError::failed(peer, "allocate and free")),
            }
        };
        let pairs = pairs_of_a_sample(&run, effort)?;
        contestants.push(Contestant {
            peer,
            sample: Box::new(move || Ok(vec![run(pairs)?])),
        });
    }
    measure(contestants, effort)
}

/// Allocates and frees until `pairs` are done or one fails; returns how many were done.
pub(super) fn run_pairs(allocator: &dyn IovaAllocator, pages: u64, pairs: u64) -> u64 {
    for done in 0..pairs {
        let first = allocator.allocate(pages);
        if !first.is_some_and(|first| allocator.free(first, pages)) {
            return done;
        }
    }
    pairs
}

/// As many as fill a sample.
fn pairs_of_a_sample(
    run: &impl Fn(u64) -> Result<f64, PeersError>,
    effort: Effort,
) -> Result<u64, PeersError> {
    run(16)?;
    let ns = run(64)?;
    Ok(((effort.sample_ns as f64 / ns.max(1.0)) as u64).clamp(1, MOST_PAIRS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iova::all;

    #[test]
    fn who_would_take_minutes_to_set_up_is_left_out() {
        let effort = Effort {
            warm_up: 0,
            rounds: 2,
            sample_ns: 1000,
        };
        let peers = |live| {
            let took = pair(all(None).unwrap(), 1 << 16, live, effort).unwrap();
            assert!(took.iter().all(|took| took.phases[0].min > 0.0));
            took.iter().map(|took| took.peer).collect::<Vec<_>>()
        };
        assert_eq!(
            peers(100),
            ["dmamap", "vm-allocator", "buddy", "range-alloc"]
        );
        assert_eq!(peers(1001), ["dmamap", "buddy", "range-alloc"]);
    }
}

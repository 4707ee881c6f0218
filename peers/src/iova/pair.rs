//! A pair: allocate and free again, while others are live.

use std::hint::black_box;

use dmamap::iova::SpaceLane;

use super::{IovaAllocator, Ours, PAGE_LOG2};
use crate::PeersError;
use crate::frames::Frames;
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
    let timer = Timer::calibrated();
    measure(
        filled(&allocators, len_bytes, live, (timer, effort))?,
        effort,
    )
}

/// The same, ours through a handle that one owner has, beside who has no such thing.
///
/// # Errors
/// As [`pair`].
pub fn owned_pair(
    mut others: Vec<Box<dyn IovaAllocator>>,
    len_bytes: u64,
    live: u64,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let timer = Timer::calibrated();
    let ours = Ours::new()?;
    let mut lane = ours.lane();
    for _ in 0..live {
        let allocated = lane.allocate(len_bytes);
        allocated.map_err(|_| PeersError::failed(ours.peer(), "allocate what is to be live"))?;
    }
    let run = |pairs| run_owned_pairs(&mut lane, len_bytes, pairs);
    let mut contestants = vec![contestant(ours.peer(), (timer, effort), run)?];
    // Ours has been asked already.
    others.retain(|allocator| allocator.peer() != ours.peer());
    contestants.extend(filled(&others, len_bytes, live, (timer, effort))?);
    measure(contestants, effort)
}

/// Who can have so many live, with these.
fn filled(
    allocators: &[Box<dyn IovaAllocator>],
    len_bytes: u64,
    live: u64,
    how: (Timer, Effort),
) -> Result<Vec<Contestant<'_>>, PeersError> {
    let pages = len_bytes >> PAGE_LOG2;
    let able = allocators.iter().filter(|it| live <= it.most_live());
    able.map(|allocator| {
        allocator.enter_thread(0);
        let peer = allocator.peer();
        for _ in 0..live {
            let first = allocator.allocate(pages);
            first.ok_or(PeersError::failed(peer, "allocate what is to be live"))?;
        }
        let run = move |pairs| run_pairs(allocator.as_ref(), pages, pairs);
        contestant(peer, how, run)
    })
    .collect()
}

/// Who does as many pairs as `run` is told, and says how many it did.
fn contestant<'a>(
    peer: &'static str,
    (timer, effort): (Timer, Effort),
    mut run: impl FnMut(u64) -> u64 + 'a,
) -> Result<Contestant<'a>, PeersError> {
    let mut run = move |pairs: u64| {
        let mut done = 0;
        let ns = timer.time(|| done = run(pairs));
        match done == pairs {
            true => Ok(ns / pairs as f64),
            false => Err(PeersError::failed(peer, "allocate and free")),
        }
    };
    let pairs = pairs_of_a_sample(&mut run, effort)?;
    Ok(Contestant {
        peer,
        sample: Box::new(move || Ok(vec![run(pairs)?])),
    })
}

#[inline(never)]
fn run_owned_pairs(lane: &mut SpaceLane<'_, Frames>, len_bytes: u64, pairs: u64) -> u64 {
    for done in 0..pairs {
        let Ok(range) = lane.allocate(len_bytes) else {
            return done;
        };
        // SAFETY: it was just allocated.
        if unsafe { lane.free(black_box(range)) }.is_err() {
            return done;
        }
    }
    pairs
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
    run: &mut impl FnMut(u64) -> Result<f64, PeersError>,
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

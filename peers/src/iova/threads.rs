//! Pairs on two CPUs at once, out of one domain.

use std::sync::{Arc, Barrier};
use std::thread;

use super::pair::run_pairs;
use super::{IovaAllocator, Ours, PAGE_LOG2};
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};
use crate::pinning;

/// Pairs of a thread in a sample.
const PAIRS: u64 = 1 << 13;

/// Ranges live meanwhile.
const LIVE: u64 = 1000;

/// Whom ours are set beside as well: two of their kind, with nothing in common but the machine.
const APART: &str = "nothing shared";

/// Who is asked: each thread its own, which may be the same.
type Asked = [Arc<dyn IovaAllocator>; 2];

/// A pair of `len_bytes` on each of two of `cpus`: how long one takes while the other CPU does the same. Beside others stands
/// what two of ours do that two threads do not share.
///
/// # Errors
/// [`PeersError::Failed`] when an allocator does not what it should, or there are fewer CPUs.
pub fn two_threads(
    allocators: Vec<Box<dyn IovaAllocator>>,
    len_bytes: u64,
    cpus: &[usize],
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let pages = len_bytes >> PAGE_LOG2;
    let &[first, second, ..] = cpus else {
        return Err(PeersError::failed(
            "this machine",
            "run two threads at once",
        ));
    };
    let apart: Asked = [Arc::new(Ours::new()?), Arc::new(Ours::new()?)];
    let shared = allocators.into_iter().map(|allocator| {
        let allocator: Arc<dyn IovaAllocator> = allocator.into();
        (allocator.peer(), [allocator.clone(), allocator])
    });
    let all: Vec<(_, Asked)> = shared.chain([(APART, apart)]).collect();
    let timer = Timer::calibrated();
    let mut contestants = Vec::new();
    for (peer, asked) in all {
        for allocator in &asked {
            for _ in 0..LIVE / 2 {
                let live = allocator.allocate(pages);
                live.ok_or(PeersError::failed(peer, "allocate what is to be live"))?;
            }
        }
        let sample = move || {
            let start = Barrier::new(2);
            let run = |number: usize, cpu: usize| {
                let allocator = asked[number].as_ref();
                let ready = pinning::pin(cpu).is_ok() && allocator.enter_thread(number);
                start.wait();
                let mut done = 0;
                // One that has no number of its own would be taken for the other.
                let pairs = if ready { PAIRS } else { 0 };
                let ns = timer.time(|| done = run_pairs(allocator, pages, pairs));
                (done == PAIRS).then_some(ns / PAIRS as f64)
            };
            let both = thread::scope(|scope| {
                let threads = [(0, first), (1, second)]
                    .map(|(number, cpu)| scope.spawn(move || run(number, cpu)));
                threads.map(|thread| thread.join().ok().flatten())
            });
            match both {
                [Some(one), Some(other)] => Ok(vec![f64::max(one, other)]),
                _ => Err(PeersError::failed(peer, "allocate and free on two CPUs")),
            }
        };
        contestants.push(Contestant {
            peer,
            sample: Box::new(sample),
        });
    }
    measure(contestants, effort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iova::all;

    #[test]
    fn both_threads_get_ranges_of_their_own() {
        let effort = Effort {
            warm_up: 0,
            rounds: 1,
            sample_ns: 1,
        };
        let cpus = pinning::allowed().unwrap();
        let twice = [cpus[0], cpus[cpus.len() - 1]];
        let took = two_threads(all(None).unwrap(), 4096, &twice, effort).unwrap();
        let peers: Vec<_> = took.iter().map(|took| took.peer).collect();
        assert_eq!(peers[..2], ["dmamap", "vm-allocator"]);
        assert_eq!(peers[2..], ["buddy", "range-alloc", APART]);
        let error = two_threads(all(None).unwrap(), 4096, &cpus[..1], effort).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this machine could not run two threads at once"
        );
    }
}

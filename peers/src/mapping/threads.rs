//! Pairs on two CPUs at once, of one device and of a device each.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::{Computer, Flushes, Path, Worker};
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};
use crate::pinning;

/// Pairs of a thread in a sample: as many as share a flush.
const PAIRS: u64 = 1 << 14;

/// A pair of `path` on each of two of `cpus`: how long one takes while the other CPU does the same, on one device. Beside it stand two
/// threads with a computer each.
///
/// # Errors
/// [`PeersError::Failed`] when a pair could not be made, or there are fewer CPUs.
pub fn two_threads(path: Path, cpus: &[usize], effort: Effort) -> Result<Vec<Took>, PeersError> {
    let &[first, second, ..] = cpus else {
        return Err(PeersError::failed(
            "this machine",
            "run two threads at once",
        ));
    };
    let boot = || Computer::boot(Flushes::Rare);
    let computers = [boot()?, boot()?, boot()?];
    let [one, apart, other] = &computers;
    let shared = path.shared_on(one)?;
    let [apart, other] = [path.shared_on(apart)?, path.shared_on(other)?];
    let timer = Timer::calibrated();
    let contestant = |peer, workers: [Worker; 2]| Contestant {
        peer,
        sample: sample(peer, workers, [first, second], timer),
    };
    let contestants = vec![
        contestant("dmamap", [shared()?, shared()?]),
        contestant("nothing shared", [apart()?, other()?]),
    ];
    measure(contestants, effort)
}

type Sample = Box<dyn FnMut() -> Result<Vec<f64>, PeersError>>;

/// Two threads that live for a sample, each with its worker; the slower one counts.
fn sample(peer: &'static str, workers: [Worker; 2], cpus: [usize; 2], timer: Timer) -> Sample {
    let workers = Arc::new(workers.map(Mutex::new));
    Box::new(move || {
        let start = Barrier::new(2);
        let run = |worker: &Mutex<Worker>, cpu: usize| {
            let mut worker = worker.lock().ok();
            let pinned = pinning::pin(cpu).is_ok();
            start.wait();
            let worker = worker.as_mut().filter(|_| pinned)?;
            let mut done = false;
            let ns = timer.time(|| done = worker(PAIRS));
            done.then_some(ns / PAIRS as f64)
        };
        let both = thread::scope(|scope| {
            let [one, other] = [0, 1].map(|number| {
                let (run, worker, cpu) = (&run, &workers[number], cpus[number]);
                scope.spawn(move || run(worker, cpu))
            });
            [one, other].map(|thread| thread.join().ok().flatten())
        });
        match both {
            [Some(one), Some(other)] => Ok(vec![f64::max(one, other)]),
            _ => Err(PeersError::failed(peer, "map and unmap on two CPUs")),
        }
    })
}

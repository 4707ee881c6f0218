//! No cache line moves between two CPUs for an operation of either, on the paths that are made for that.
//!
//! Two threads, a CPU each, take turns at a path, an operation at a time, and each goes step by step ([`steps`]). So every access to memory is known
//! ([`accesses`]), whatever the processor and however busy the machine, and so is every cache line that one CPU takes from the other:
//! what it writes and the other has, and what it reads and the other wrote ([`lines`]). Each instruction counts, of the layer, its platform
//! and the driver; not what is behind a register, which is hardware.
//!
//! `cargo test --release -p peers --test two_cpus -- --nocapture` prints the table, and with `SHOW=1` the lines: where each is, how often it moved, and the
//! instruction by which, as an offset that `addr2line` takes.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod accesses;
mod lines;
mod steps;

use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

use accesses::Decoded;
use lines::{Caches, Moves, Touched};
use peers::cpus;
use peers::mapping::{Computer, Flushes, Path, Worker, two_threads};
use peers::measure::Effort;
use peers::pinning;

/// Operations before it counts, in turns of as many as share a lock.
const WARM_UP: u64 = 1500;
/// Operations of each CPU that count: so many that they share flushes, and those share locks.
const ROUNDS: usize = match cfg!(debug_assertions) {
    true => 40,
    false => 1024,
};
/// Most instructions of one.
const MOST_STEPS: usize = 4 << 20;

/// One test at a time: there are few CPUs.
static ALONE: Mutex<()> = Mutex::new(());

/// Has both workers take turns.
fn moves(workers: [Worker; 2]) -> Moves {
    let turn = Barrier::new(2);
    let seen = Mutex::new((Caches::default(), Decoded::default(), Moves::default()));
    thread::scope(|scope| {
        let (turn, seen) = (&turn, &seen);
        for (cpu, mut worker) in workers.into_iter().enumerate() {
            scope.spawn(move || {
                // Each has a number before the other goes on.
                let number = cpus::current();
                assert!(number < peers::undisturbed::FEW);
                turn.wait();
                for _ in 0..WARM_UP / 100 {
                    for now in 0..2 {
                        if now == cpu {
                            assert!(worker(100), "a pair was not made");
                        }
                        turn.wait();
                    }
                }
                let mut steps = Vec::with_capacity(MOST_STEPS);
                for _ in 0..ROUNDS {
                    for now in 0..2 {
                        if now == cpu {
                            let mut made = false;
                            steps = steps::of(steps, || made = worker(1));
                            assert!(made, "a pair was not made");
                            let mut seen = seen.lock().unwrap();
                            let (caches, decoded, moves) = &mut *seen;
                            let touched = Touched::of(&steps, decoded);
                            moves.add(&caches.moved(cpu, &touched));
                        }
                        turn.wait();
                    }
                }
            });
        }
    });
    seen.into_inner().unwrap().2
}

fn show(moves: &Moves) {
    let base = base();
    for (line, times, ip) in moves.lines() {
        println!("    {line:#x} moved {times} times, by {:#x}", ip - base);
    }
}

/// Where this program begins.
fn base() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let first = maps.split('-').next().unwrap();
    u64::from_str_radix(first, 16).unwrap()
}

#[test]
fn two_that_share_stand_beside_two_that_do_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let effort = Effort {
        warm_up: 0,
        rounds: 1,
        sample_ns: 1,
    };
    let cpus = pinning::allowed().unwrap();
    let twice = [cpus[0], cpus[cpus.len() - 1]];
    for path in [Path::Deferred, Path::Lane, Path::Copies] {
        let took = two_threads(path, &twice, effort).unwrap();
        let peers: Vec<_> = took.iter().map(|took| took.peer).collect();
        assert_eq!(peers, ["dmamap", "nothing shared"]);
    }
    assert!(two_threads(Path::Lane, &cpus[..1], effort).is_err());
}

#[test]
fn no_line_moves_for_an_operation_that_shares_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "lines moved: mean, least, median, most of an operation; of 1000 operations that moved any"
    );
    for path in Path::ALL {
        let computer = Computer::boot(Flushes::AsUsual).unwrap();
        let shared = path.shared_on(&computer).unwrap();
        let moves = moves([shared().unwrap(), shared().unwrap()]);
        let (least, median, most) = moves.least_median_most();
        println!(
            "{:6.3} {least:3} {median:3} {most:3} {:4}  {}",
            moves.mean(),
            moves.per_mille(),
            path.name()
        );
        if std::env::var_os("SHOW").is_some() {
            show(&moves);
        }
        match path {
            // Which are the CPU's alone.
            Path::Addresses | Path::Copies => assert_eq!(most, 0, "{}", path.name()),
            // But for the one in some thirty that takes the domain's lock, for room in the queue of a flush.
            Path::Deferred | Path::DeferredRaw | Path::Lane | Path::LaneRaw => {
                assert_eq!(median, 0, "{}", path.name());
                assert!(moves.per_mille() <= 125, "{}: {moves:?}", path.name());
                assert!(moves.mean() <= 1.0, "{}: {moves:?}", path.name());
            }
            // The unit's queue is one: its lock with the place in it, who waits for which fence, and the descriptors.
            Path::Strict => assert!(median <= 4, "{}: {moves:?}", path.name()),
        }
    }
}

//! One thread that maps and unmaps, and looks at the clock in between.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use dmamap::device::Device;
use hdrhistogram::CreationError;
use hosted::Hosted;

use super::latency::Latency;
use super::lend::{Lend, LendError};
use super::load::Load;

/// What one thread measured, or all of them.
pub(super) struct Recorded {
    pub(super) map: Latency,
    pub(super) unmap: Latency,
    /// Both, one after the other.
    pub(super) pair: Latency,
    /// From the first to the last.
    pub(super) elapsed: Duration,
}

impl Recorded {
    pub(super) fn nothing() -> Result<Self, CreationError> {
        Ok(Self {
            map: Latency::new()?,
            unmap: Latency::new()?,
            pair: Latency::new()?,
            elapsed: Duration::ZERO,
        })
    }

    /// Nothing again.
    fn forget(&mut self) {
        self.map.forget();
        self.unmap.forget();
        self.pair.forget();
        self.elapsed = Duration::ZERO;
    }

    /// Adds what another thread measured at the same time.
    pub(super) fn merge(&mut self, other: &Self) {
        self.map.merge(&other.map);
        self.unmap.merge(&other.unmap);
        self.pair.merge(&other.pair);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// How far all threads are: each waits for the others, and for whoever counts, before and after each pause.
pub(super) struct Stages<'a> {
    /// The threads, and who counts.
    pub(super) all: &'a Barrier,
    pub(super) warm_up: Duration,
    pub(super) measure: Duration,
}

impl Stages<'_> {
    /// Nobody maps or unmaps between these two: what is counted meanwhile stands still.
    pub(super) fn pause(&self, meanwhile: impl FnOnce()) {
        self.all.wait();
        meanwhile();
        self.all.wait();
    }
}

/// The mappings one thread keeps alive.
struct Ring<'a, L: Lend> {
    device: &'a Device<Hosted>,
    load: Load,
    /// One less than the ring's depth, oldest first.
    alive: VecDeque<L::Mapping>,
    /// What is mapped next; `None` once something failed.
    spare: Option<L::Memory>,
}

impl<'a, L: Lend> Ring<'a, L> {
    fn fill(device: &'a Device<Hosted>, load: Load) -> Result<Self, LendError> {
        let depth = load.ring as usize;
        let mut alive = VecDeque::with_capacity(depth);
        for _ in 1..depth {
            let memory = L::allocate(device, load.piece)?;
            alive.push_back(L::map(device, memory, load.direction)?);
        }
        let spare = Some(L::allocate(device, load.piece)?);
        Ok(Self {
            device,
            load,
            alive,
            spare,
        })
    }

    /// Maps and unmaps for so long, at least once.
    fn work(&mut self, time: Duration, recorded: &mut Recorded) -> Result<(), LendError> {
        let started = Instant::now();
        while let Some(memory) = self.spare.take() {
            let oldest = self.alive.pop_front();
            let before = Instant::now();
            let mapping = L::map(self.device, memory, self.load.direction)?;
            let between = Instant::now();
            let (ended, kept) = match oldest {
                Some(oldest) => (oldest, Some(mapping)),
                None => (mapping, None),
            };
            let memory = L::unmap(ended)?;
            let after = Instant::now();
            self.spare = Some(memory);
            self.alive.extend(kept);
            recorded.map.record(between - before);
            recorded.unmap.record(after - between);
            recorded.pair.record(after - before);
            recorded.elapsed = after - started;
            if recorded.elapsed >= time {
                break;
            }
        }
        Ok(())
    }

    fn empty(self) -> Result<(), LendError> {
        let Self {
            device,
            alive,
            spare,
            ..
        } = self;
        let memory: Result<Vec<_>, _> = alive.into_iter().map(L::unmap).collect();
        give_back(device, (memory?, spare))
    }
}

/// Frees memory once the device has lost it: what is unmapped to share a flush comes back before that.
pub(super) fn give_back<M>(device: &Device<Hosted>, memory: M) -> Result<(), LendError> {
    device.flush()?;
    drop(memory);
    Ok(())
}

/// Works through all stages, also after a failure: others wait.
pub(super) fn work<L: Lend>(
    device: &Device<Hosted>,
    load: Load,
    stages: &Stages<'_>,
    mut recorded: Recorded,
) -> Result<Recorded, LendError> {
    let filled = Ring::<L>::fill(device, load);
    stages.pause(|| {});
    let warm = filled.and_then(|mut ring| {
        ring.work(stages.warm_up, &mut recorded)?;
        recorded.forget();
        Ok(ring)
    });
    stages.pause(|| {});
    let measured = warm.and_then(|mut ring| {
        ring.work(stages.measure, &mut recorded)?;
        Ok(ring)
    });
    stages.pause(|| {});
    measured?.empty()?;
    Ok(recorded)
}

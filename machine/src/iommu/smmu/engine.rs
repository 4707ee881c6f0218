//! The unit at work: registers that take effect later, and the command queue.
//!
//! Whoever polls steps the unit, and its own thread does what is left (`worker`). No step ever waits; draining is
//! asked for again at the next step.

use hw::smmu::command::Sync;

use super::core::Core;
use super::invalidation::{ConfigSelection, TlbSelection};
use super::queue::NextCommand;
use super::registers::Work;
use crate::iommu::in_flight::Drain;
use crate::temper::{Dice, Temper};

/// In the random temper, one command in this many is left for the next step, and one invalidation in so many is
/// done at once.
const PAUSE_ONE_IN: u64 = 4;

/// What the engine knows between two steps.
#[derive(Debug)]
pub(super) struct Engine {
    draining: Option<(Drain, Job)>,
    /// Invalidations that the next synchronisation must complete: until then none of them need be done (4.1.5, 4.7).
    pub(super) unfinished: Vec<Unfinished>,
    /// What was not yet invalidated since the stream table was set.
    pub(super) stale_config: bool,
    pub(super) stale_translations: bool,
    temper: Temper,
    dice: Dice,
}

/// An invalidation that was taken from the queue and not done yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    Config(ConfigSelection),
    Translations(TlbSelection),
}

/// Something that ends with a sign to software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// `CR0`, from one value to another.
    Control(u32, u32),
    Interrupts(u32),
    BypassAttributes(u32),
    /// The command at this physical address.
    Command(u64),
    /// A synchronisation whose invalidations are done.
    Sync(Sync),
}

impl Engine {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            draining: None,
            unfinished: Vec::new(),
            stale_config: true,
            stale_translations: true,
            temper,
            dice: Dice::new(seed),
        }
    }

    /// Whether an invalidation is done before anybody synchronises, this time.
    pub(super) fn is_eager(&self) -> bool {
        match self.temper {
            Temper::Keep => false,
            Temper::Forget => true,
            Temper::Random(_) => self.dice.one_in(PAUSE_ONE_IN),
        }
    }
}

impl Core {
    /// Does what can be done without waiting. Returns at once if another thread is at it.
    pub(super) fn step(&self) {
        if !self.worker.is_busy() {
            return;
        }
        let Some(mut engine) = self.engine.try_lock() else {
            return;
        };
        loop {
            if let Some((drain, then)) = engine.draining.take() {
                if !self.in_flight.is_drained(drain) {
                    engine.draining = Some((drain, then));
                    return;
                }
                self.finish(then);
            }
            let Some(job) = self.next_job(&engine) else {
                return;
            };
            self.start(&mut engine, job);
        }
    }

    fn next_job(&self, engine: &Engine) -> Option<Job> {
        let mut registers = self.registers.lock();
        if let Some((from, to)) = registers.cr0.start() {
            return Some(Job::Control(from, to));
        }
        if let Some((_, to)) = registers.irq_ctrl.start() {
            return Some(Job::Interrupts(to));
        }
        if let Some((_, to)) = registers.gbpa.start() {
            return Some(Job::BypassAttributes(to));
        }
        let next = match registers.errors.active().cmdq_err() {
            true => NextCommand::Idle,
            false => registers.queue.next(),
        };
        match next {
            NextCommand::Idle => {
                self.worker.rest();
                None
            }
            NextCommand::Later => None,
            NextCommand::Fetch(phys) => {
                let pauses =
                    matches!(engine.temper, Temper::Random(_)) && engine.dice.one_in(PAUSE_ONE_IN);
                (!pauses).then_some(Job::Command(phys))
            }
        }
    }

    /// The sign to software that a job, and the drain it asked for, is done.
    pub(super) fn finish(&self, job: Job) {
        match job {
            Job::Control(_, to) => self.registers.lock().cr0.finish(to),
            Job::Interrupts(to) => self.registers.lock().irq_ctrl.finish(to),
            Job::BypassAttributes(to) => self.registers.lock().gbpa.finish(to),
            Job::Command(_) => self.registers.lock().queue.advance(),
            Job::Sync(sync) => self.complete_sync(sync),
        }
    }

    pub(super) fn drain_then(&self, engine: &mut Engine, then: Job) {
        engine.draining = Some((self.in_flight.begin_drain(), then));
    }

    /// Software wrote registers.
    pub(super) fn wrote(&self, work: Work) {
        if work == Work::Some {
            self.worker.kick();
        }
    }
}

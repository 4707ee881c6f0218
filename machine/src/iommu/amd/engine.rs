//! The unit at work: switches of the control register, and the command buffer.
//!
//! Whoever polls steps the unit, and its own thread does what is left (`worker`). No step ever waits; draining is
//! asked for again at the next step.

use super::core::Core;
use super::registers::{Switching, Work};
use super::ring::NextCommand;
use crate::iommu::in_flight::Drain;
use crate::temper::{Dice, Temper};

/// In the random temper, one command in this many is left for the next step.
const PAUSE_ONE_IN: u64 = 4;

/// What the engine knows between two steps.
#[derive(Debug)]
pub(super) struct Engine {
    draining: Option<(Drain, Job)>,
    temper: Temper,
    dice: Dice,
}

/// Something that ends with a sign to software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// The control register changed.
    Switch,
    /// The command at this physical address.
    Command(u64),
    /// A completion wait, when all that was in flight has landed.
    Wait(hw::amd::command::CompletionWait),
    /// The buffer cannot go on.
    Stop,
}

impl Engine {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            draining: None,
            temper,
            dice: Dice::new(seed),
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
        self.write_events();
        loop {
            if let Some((drain, job)) = engine.draining.take() {
                if !self.in_flight.is_drained(drain) {
                    engine.draining = Some((drain, job));
                    return;
                }
                self.finish(job);
            }
            let Some(job) = self.next_job(&engine) else {
                return;
            };
            self.start(&mut engine, job);
        }
    }

    fn next_job(&self, engine: &Engine) -> Option<Job> {
        let mut registers = self.registers.lock();
        if registers.switching == Switching::Waiting {
            registers.switching = Switching::Started;
            return Some(Job::Switch);
        }
        match registers.ring.next() {
            // Events logged in this step appear at the next.
            NextCommand::Idle if registers.log.has_unwritten() => None,
            NextCommand::Idle => {
                self.worker.rest();
                None
            }
            NextCommand::Later => None,
            NextCommand::Nonsense => Some(Job::Stop),
            NextCommand::Fetch(phys) => {
                let pauses =
                    matches!(engine.temper, Temper::Random(_)) && engine.dice.one_in(PAUSE_ONE_IN);
                (!pauses).then_some(Job::Command(phys))
            }
        }
    }

    /// Finishes `job` once all that is in flight now has landed.
    pub(super) fn drain_then(&self, engine: &mut Engine, job: Job) {
        engine.draining = Some((self.in_flight.begin_drain(), job));
    }

    /// Software wrote registers.
    pub(super) fn wrote(&self, work: Work) {
        if work == Work::Some {
            self.worker.kick();
        }
    }
}

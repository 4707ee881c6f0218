//! The unit at work: writes of its control registers, and the command queue.
//!
//! Whoever polls steps the unit, and its own thread does what is left (`worker`). No step ever waits; draining is
//! asked for again at the next step.

use hw::riscv::command::Fence;
use hw::riscv::regs::Ddtp;

use super::core::Core;
use super::invalidation::Invalidation;
use super::queue::{NextCommand, Switch};
use super::registers::Work;
use crate::iommu::in_flight::Drain;
use crate::temper::{Dice, Temper};

/// In the random temper, one command in this many is left for the next step.
const PAUSE_ONE_IN: u64 = 4;

/// What the engine knows between two steps.
#[derive(Debug)]
pub(super) struct Engine {
    draining: Option<Draining>,
    /// Invalidations that were fetched and not carried out: only a fence says that they are (3.1.2).
    pub(super) fetched: Vec<Invalidation>,
    pub(super) temper: Temper,
    pub(super) dice: Dice,
}

#[derive(Debug)]
struct Draining {
    reads: Option<Drain>,
    writes: Option<Drain>,
    then: Job,
}

/// Something that ends with a sign to software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    DirectoryPointer(Ddtp),
    CommandQueue(Switch),
    FaultQueue(Switch),
    /// The command at this physical address.
    Command(u64),
    /// A fence whose invalidations are done.
    Fence(Fence),
}

impl Engine {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            draining: None,
            fetched: Vec::new(),
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
        loop {
            if let Some(draining) = engine.draining.take() {
                if !self.is_drained(&draining) {
                    engine.draining = Some(draining);
                    return;
                }
                self.finish(draining.then);
            }
            let Some(job) = self.next_job(&engine) else {
                return;
            };
            self.start(&mut engine, job);
        }
    }

    fn is_drained(&self, draining: &Draining) -> bool {
        let in_flight = &self.in_flight;
        draining
            .reads
            .is_none_or(|drain| in_flight.reads.is_drained(drain))
            && draining
                .writes
                .is_none_or(|drain| in_flight.writes.is_drained(drain))
    }

    fn next_job(&self, engine: &Engine) -> Option<Job> {
        let mut registers = self.registers.lock();
        if let Some(ddtp) = registers.ddtp.start() {
            return Some(Job::DirectoryPointer(ddtp));
        }
        if let Some(switch) = registers.queue.switch.start() {
            return Some(Job::CommandQueue(switch));
        }
        if let Some(switch) = registers.faults.switch.start() {
            return Some(Job::FaultQueue(switch));
        }
        match registers.queue.next() {
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

    pub(super) fn drain_then(&self, engine: &mut Engine, reads: bool, writes: bool, then: Job) {
        engine.draining = Some(Draining {
            reads: reads.then(|| self.in_flight.reads.begin_drain()),
            writes: writes.then(|| self.in_flight.writes.begin_drain()),
            then,
        });
    }

    /// Software wrote registers.
    pub(super) fn wrote(&self, work: Work) {
        if work == Work::Some {
            self.worker.kick();
        }
    }
}

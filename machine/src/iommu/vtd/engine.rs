//! The unit at work: global commands, invalidations by register, and the invalidation queue.
//!
//! Whoever polls steps the unit, and its own thread does what is left (`worker`). No step ever waits; draining is
//! asked for again at the next step.

use hw::vtd::regs::QueueErrorInfo;

use super::command::Command;
use super::core::Core;
use super::queue::NextDescriptor;
use super::registers::Work;
use crate::iommu::in_flight::Drain;
use crate::temper::{Dice, Temper};

/// In the random temper, one descriptor in this many is left for the next step.
const PAUSE_ONE_IN: u64 = 4;

/// What the engine knows between two steps.
#[derive(Debug)]
pub(super) struct Engine {
    draining: Option<Draining>,
    /// What was not yet invalidated since the root table was set.
    pub(super) stale_contexts: bool,
    pub(super) stale_pasids: bool,
    pub(super) stale_translations: bool,
    temper: Temper,
    dice: Dice,
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
    Command(Command),
    ContextRegister,
    IotlbRegister,
    /// The descriptor at this physical address.
    Descriptor(u64),
    /// The queue cannot go on.
    QueueError(QueueErrorInfo),
}

impl Engine {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            draining: None,
            stale_contexts: false,
            stale_pasids: false,
            stale_translations: false,
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
        if let Some(command) = registers.commands.start_next() {
            return Some(Job::Command(command));
        }
        if registers.context_command.icc() {
            return Some(Job::ContextRegister);
        }
        if registers.iotlb_invalidate.ivt() {
            return Some(Job::IotlbRegister);
        }
        let next = match registers.faults.queue_error() {
            true => NextDescriptor::Idle,
            false => registers.queue.next(),
        };
        match next {
            NextDescriptor::Idle => {
                self.worker.rest();
                None
            }
            NextDescriptor::Later => None,
            NextDescriptor::Error(info) => Some(Job::QueueError(info)),
            NextDescriptor::Fetch(phys) => {
                let pauses =
                    matches!(engine.temper, Temper::Random(_)) && engine.dice.one_in(PAUSE_ONE_IN);
                (!pauses).then_some(Job::Descriptor(phys))
            }
        }
    }

    /// The sign to software that a job, and the drain it asked for, is done.
    pub(super) fn finish(&self, job: Job) {
        let mut registers = self.registers.lock();
        match job {
            Job::Command(_) => registers.commands.finish(),
            Job::ContextRegister => registers.context_command.set_icc(false),
            Job::IotlbRegister => registers.iotlb_invalidate.set_ivt(false),
            Job::Descriptor(_) => registers.queue.advance(),
            Job::QueueError(_) => {}
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

//! The unit at work: requests one by one, in the order of the queue.
//!
//! A request by which somebody lost access is answered only when all transactions in flight have landed. In the random
//! temper answers are given back late and in any order, as a queue without `IN_ORDER` allows.

use hw::virtio::iommu::request::Status;

use super::core::{Core, Front};
use super::domains::{Domains, Lost};
use super::queue::{Broken, Buffer};
use super::registers::Reset;
use super::request::{Answer, Executed};
use crate::findings::FindingKind;
use crate::iommu::freed::Freed;
use crate::iommu::in_flight::Drain;
use crate::temper::{Dice, Temper};

/// In the random temper, one request in this many is left for the next step.
const PAUSE_ONE_IN: u64 = 4;

/// What the engine knows between two steps.
#[derive(Debug)]
pub(super) struct Engine {
    draining: Option<(Drain, Job)>,
    /// Answered, and not yet given back.
    answered: Vec<(Buffer, u32, Option<u32>)>,
    temper: Temper,
    dice: Dice,
}

/// What ends with a drain.
#[derive(Debug)]
enum Job {
    Reset,
    Request(Buffer, Answer, Option<u32>),
}

enum Next {
    Reset,
    Request(Buffer, Option<super::QueueFault>),
    /// Nothing to do, now or at all.
    Nothing,
}

impl Engine {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            draining: None,
            answered: Vec::new(),
            temper,
            dice: Dice::new(seed),
        }
    }

    fn is_random(&self) -> bool {
        matches!(self.temper, Temper::Random(_))
    }

    /// Tells `freed` the buffers that were taken and not given back.
    pub(super) fn tell_uses(&self, freed: &mut Freed) {
        let draining = match &self.draining {
            Some((_, Job::Request(buffer, ..))) => Some(buffer),
            _ => None,
        };
        let answered = self.answered.iter().map(|(buffer, ..)| buffer);
        for buffer in draining.into_iter().chain(answered) {
            buffer.tell_uses("request queue", freed);
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
            if let Some((drain, job)) = engine.draining.take() {
                if !self.in_flight.is_drained(drain) {
                    engine.draining = Some((drain, job));
                    return;
                }
                self.finish(&mut engine, job);
            }
            match self.next(&mut engine) {
                Next::Nothing => return,
                Next::Reset => {
                    engine.answered.clear();
                    *self.domains.write() = Domains::default();
                    engine.draining = Some((self.in_flight.begin_drain(), Job::Reset));
                }
                Next::Request(buffer, fault) => self.start(&mut engine, buffer, fault),
            }
        }
    }

    fn next(&self, engine: &mut Engine) -> Next {
        let front = &mut *self.front.lock();
        match front.registers.reset {
            Reset::Over => {}
            Reset::Wanted => return Next::Nothing,
            Reset::Seen => {
                front.requests = None;
                front.events = None;
                return Next::Reset;
            }
        }
        if !front.registers.is_running() || front.hooks.held {
            self.worker.rest();
            return Next::Nothing;
        }
        if front.hooks.is_early() {
            return Next::Nothing;
        }
        if engine.is_random() && engine.dice.one_in(PAUSE_ONE_IN) {
            return Next::Nothing;
        }
        loop {
            let Some(requests) = &mut front.requests else {
                self.worker.rest();
                return Next::Nothing;
            };
            match requests.take(&self.reporter) {
                Err(Broken) => {
                    front.registers.need_reset();
                    self.worker.rest();
                    return Next::Nothing;
                }
                Ok(Some(buffer)) => return Next::Request(buffer, front.hooks.fault.take()),
                Ok(None) if engine.answered.is_empty() => {
                    if requests.listen() {
                        continue;
                    }
                    self.worker.rest();
                    return Next::Nothing;
                }
                Ok(None) => self.give_back_all(engine, front),
            }
        }
    }

    fn start(&self, engine: &mut Engine, buffer: Buffer, fault: Option<super::QueueFault>) {
        use super::QueueFault;
        let mut used_as = None;
        let executed = match fault {
            None => self.execute(&buffer),
            // It is taken, and that is the last that is heard of it.
            Some(QueueFault::Lost) => return,
            Some(QueueFault::NeedsReset) => return self.front.lock().registers.need_reset(),
            Some(QueueFault::Answer(status)) => self.refuse(&buffer, status),
            Some(QueueFault::UsedAs(id)) => {
                used_as = Some(id);
                self.execute(&buffer)
            }
        };
        let Some(Executed { answer, lost }) = executed else {
            return self.front.lock().registers.need_reset();
        };
        let job = Job::Request(buffer, answer, used_as);
        match lost {
            Lost::Access => engine.draining = Some((self.in_flight.begin_drain(), job)),
            Lost::Nothing => self.finish(engine, job),
        }
    }

    fn finish(&self, engine: &mut Engine, job: Job) {
        let front = &mut *self.front.lock();
        match job {
            Job::Reset => front.registers.finish_reset(),
            Job::Request(buffer, answer, used_as) => {
                if answer.status != Status::Ok {
                    self.counters.refusals.add_one();
                }
                let bytes = answer.into_bytes(buffer.writable());
                if buffer.write(&bytes).is_none() {
                    self.reporter.report(
                        FindingKind::ProtocolViolation,
                        format!("request queue: an answer cannot be written: {buffer:?}"),
                    );
                    return front.registers.need_reset();
                }
                engine.answered.push((buffer, bytes.len() as u32, used_as));
                if !engine.is_random() {
                    self.give_back_all(engine, front);
                }
            }
        }
    }

    fn give_back_all(&self, engine: &mut Engine, front: &mut Front) {
        let Some(requests) = &mut front.requests else {
            engine.answered.clear();
            return;
        };
        while !engine.answered.is_empty() {
            let index = engine.dice.below(engine.answered.len() as u64) as usize;
            let (buffer, written, used_as) = engine.answered.swap_remove(index);
            let interrupt = match used_as {
                None => requests.give_back(&buffer, written, &self.reporter),
                Some(id) => requests.give_back_as(&buffer, id, written, &self.reporter),
            };
            if interrupt {
                front.registers.interrupts.set_used_buffer(true);
            }
        }
    }
}

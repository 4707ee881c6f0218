//! A virtio device's own thread: it resets the device, and works on queues that it was told of.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::memory::BusMemory;
use super::misbehaviour::Misbehaviour;
use super::model::Model;
use super::queue::{Broken, DeviceQueue};
use super::registers::Registers;
use crate::findings::{FindingKind, Findings};

/// What the CPU's side and the thread share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    pub(super) findings: Findings,
}

pub(super) struct State {
    pub(super) registers: Registers,
    /// Queues that may have new buffers, by bit.
    pub(super) notified: u64,
    pub(super) wants_reset: bool,
    pub(super) is_gone: bool,
    pub(super) stop: bool,
    /// Buffers given back.
    pub(super) answered: u64,
}

impl Shared {
    /// The driver did what it must not.
    pub(super) fn report(&self, kind: FindingKind, detail: String) {
        self.findings.report(&self.name, kind, detail);
    }

    /// There may be new buffers in a queue.
    pub(super) fn notify(&self, index: u16) {
        self.state.lock().notified |= 1 << index;
        self.wake.notify_one();
    }
}

/// The thread's side.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) memory: Arc<BusMemory>,
    pub(super) model: Box<dyn Model>,
    pub(super) misbehaviour: Misbehaviour,
    pub(super) queues: Vec<Option<DeviceQueue>>,
    /// Whether it has ever looked at a queue.
    pub(super) was_at_work: bool,
}

enum Task {
    Stop,
    Reset,
    Work(u16),
}

impl Engine {
    /// Works until the device is stopped.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            match next_task(&shared) {
                Task::Stop => return,
                Task::Reset => self.reset(),
                Task::Work(index) => {
                    if let Err(broken) = self.work(index) {
                        self.break_down(&broken);
                    }
                }
            }
        }
    }

    fn reset(&mut self) {
        self.was_at_work |= self.queues.iter().any(Option::is_some);
        self.queues.iter_mut().for_each(|queue| *queue = None);
        self.model.reset();
        if self.misbehaviour == Misbehaviour::NeverResets && self.was_at_work {
            return;
        }
        self.shared.state.lock().registers.finish_reset();
    }

    fn work(&mut self, index: u16) -> Result<(), Broken> {
        let mut next = Some(index);
        while let Some(index) = next {
            if self.queue(index)?.is_none() {
                return Ok(());
            }
            let Some(Some(queue)) = self.queues.get_mut(usize::from(index)) else {
                return Ok(());
            };
            let answered = self.model.work(index, queue)?;
            next = self.model.next(index);
            let mut state = self.shared.state.lock();
            state.answered += answered;
            if answered > 0 {
                state.registers.used_buffer();
                if self.misbehaviour == Misbehaviour::NeedsReset {
                    state.registers.need_reset();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Queue `index`, which is looked at for the first time when it is first told of.
    fn queue(&mut self, index: u16) -> Result<Option<&mut DeviceQueue>, Broken> {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return Ok(None);
        };
        if queue.is_none() {
            let placement = self.shared.state.lock().registers.queue(index);
            if let Some(placement) = placement {
                let made = DeviceQueue::new(placement, &self.memory, self.misbehaviour)?;
                *queue = Some(made);
            }
        }
        Ok(queue.as_mut())
    }

    fn break_down(&self, broken: &Broken) {
        match broken {
            Broken::Driver(what) => {
                let detail = what.clone();
                self.shared.report(FindingKind::ProtocolViolation, detail);
            }
            // Who took the memory away had a reason.
            Broken::Memory(what) => log::debug!("{}: {what}", self.shared.name),
        }
        self.shared.state.lock().registers.need_reset();
    }
}

fn next_task(shared: &Shared) -> Task {
    let mut state = shared.state.lock();
    loop {
        if state.stop {
            return Task::Stop;
        }
        if std::mem::take(&mut state.wants_reset) {
            state.notified = 0;
            return Task::Reset;
        }
        if state.registers.is_running() && state.notified != 0 {
            let index = state.notified.trailing_zeros();
            state.notified &= !(1 << index);
            return Task::Work(index as u16);
        }
        shared.wake.wait(&mut state);
    }
}

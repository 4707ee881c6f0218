//! What the CPU's side (register accesses) and the engine's thread of a controller share.

use std::time::{Duration, Instant};

use hw::nvme::regs::ShutdownNotification;
use parking_lot::{Condvar, Mutex};

use super::config::NeverReady;
use super::events::{AsyncEvents, EventReport};
use super::misuse::EnableError;
use super::queue::{CompletionQueue, SubmissionQueue};
use super::queue_set::{Doorbell, DoorbellError, Fetch, QueueSet, Slot};
use super::registers::{Duty, Registers};
use super::statistics::Counters;
use super::window::Backlog;
use crate::findings::{FindingKind, Findings};

/// The controller's state, its bell and its counters.
pub(crate) struct Shared {
    name: String,
    pub(crate) state: Mutex<State>,
    wake: Condvar,
    pub(crate) counters: Counters,
    findings: Findings,
}

/// What register accesses and the engine both change.
pub(crate) struct State {
    pub(crate) registers: Registers,
    pub(crate) queues: QueueSet,
    pub(crate) events: AsyncEvents,
    pub(crate) features: Features,
    stop: bool,
}

/// What set features changes.
#[derive(Debug, Default)]
pub(crate) struct Features {
    /// I/O queue pairs the driver asked for, once it did.
    pub(crate) queue_pairs: Option<u16>,
    /// Whether written blocks go to stable storage only with a flush.
    pub(crate) write_cache: WriteCache,
}

/// The volatile write cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WriteCache {
    #[default]
    On,
    Off,
}

/// What the engine has to do outside the lock.
#[derive(Debug)]
pub(crate) enum Task {
    /// End the thread.
    Stop,
    /// Forget every command, then [`Shared::reset_done`].
    Reset,
    /// Prepare for power-off, then [`Shared::shutdown_done`].
    Shutdown(ShutdownNotification),
    /// Complete an asynchronous event request.
    Report(EventReport),
    /// Fetch a command.
    Fetch(Fetch),
    /// Execute a command that was fetched.
    Execute,
}

impl Shared {
    pub(crate) fn new(
        name: String,
        registers: Registers,
        io_queues: u16,
        findings: Findings,
    ) -> Self {
        let state = State {
            registers,
            queues: QueueSet::new(io_queues),
            events: AsyncEvents::default(),
            features: Features::default(),
            stop: false,
        };
        Self {
            name,
            state: Mutex::new(state),
            wake: Condvar::new(),
            counters: Counters::default(),
            findings,
        }
    }

    /// Tells what a correct driver never causes.
    pub(crate) fn report(&self, kind: FindingKind, detail: impl ToString) {
        self.findings.report(&self.name, kind, detail.to_string());
    }

    /// The CPU wrote `value` to a doorbell.
    pub(crate) fn ring(&self, doorbell: Doorbell, value: u32) {
        let mut state = self.state.lock();
        match state.registers.duty() {
            Duty::Commands => {}
            // The driver cannot know yet that the controller died.
            Duty::Idle if state.registers.is_fatal() => return,
            duty => {
                drop(state);
                let detail =
                    format!("{doorbell:?} written while the controller's duty is {duty:?}");
                return self.report(FindingKind::IllegalRegisterUse, detail);
            }
        }
        if let Err(error) = state.queues.ring(doorbell, value) {
            state.events.raise(match error {
                DoorbellError::NoSuchQueue(_) => AsyncEvents::INVALID_DOORBELL_REGISTER,
                DoorbellError::Value { .. } => AsyncEvents::INVALID_DOORBELL_VALUE,
            });
            self.report(FindingKind::DoorbellOutOfRange, error);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Something was written that may give the engine a task.
    pub(crate) fn notify(&self) {
        self.wake.notify_one();
    }

    /// Ends the engine's thread as soon as it has finished what it does.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_one();
    }

    /// Waits for something to do; becomes ready on the way, when the driver asks for it.
    pub(crate) fn next_task(&self, never_ready: NeverReady, backlog: Backlog) -> Task {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Task::Stop;
            }
            match state.registers.duty() {
                Duty::Reset => return Task::Reset,
                Duty::Enable if never_ready == NeverReady::No => {
                    if let Err(error) = state.enable() {
                        self.report(FindingKind::IllegalRegisterUse, error);
                    }
                    continue;
                }
                Duty::Shutdown(kind) => return Task::Shutdown(kind),
                Duty::Commands => {
                    if let Some(task) = state.next_command(backlog) {
                        return task;
                    }
                }
                Duty::Idle | Duty::Enable => {}
            }
            self.wake.wait(&mut state);
        }
    }

    /// All queues and what the driver set are gone; tells so.
    pub(crate) fn reset_done(&self) {
        let mut state = self.state.lock();
        state.queues.clear();
        state.events.clear();
        state.features = Features::default();
        state.registers.reset_done();
    }

    /// What was reserved for a command of submission queue `queue` is free.
    pub(crate) fn release(&self, queue: u16) {
        self.state.lock().queues.release(queue);
    }

    /// Where the next completion of `queue`'s commands goes; `None` if it is not to be posted any more, or
    /// has no room.
    pub(crate) fn next_slot(&self, queue: u16) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.registers.reset_asked() {
            return None;
        }
        state.queues.next_slot(queue)
    }

    /// Waits for `duration`, or until nobody wants what is being waited for.
    pub(crate) fn pause(&self, duration: Duration) {
        let deadline = Instant::now().checked_add(duration);
        let mut state = self.state.lock();
        while !state.stop && !state.registers.reset_asked() {
            match deadline {
                Some(deadline) if self.wake.wait_until(&mut state, deadline).timed_out() => return,
                Some(_) => {}
                None => self.wake.wait(&mut state),
            }
        }
    }

    /// Everything is on stable storage.
    pub(crate) fn shutdown_done(&self) {
        self.state.lock().registers.shutdown_done();
    }

    /// The controller cannot go on until it is reset.
    pub(crate) fn fatal(&self) {
        self.state.lock().registers.fatal();
    }
}

impl State {
    fn next_command(&mut self, backlog: Backlog) -> Option<Task> {
        if self.queues.has_room(0)
            && let Some(report) = self.events.take()
        {
            return Some(Task::Report(report));
        }
        if backlog != Backlog::Full
            && let Some(fetch) = self.queues.next_command()
        {
            return Some(Task::Fetch(fetch));
        }
        (backlog != Backlog::Empty).then_some(Task::Execute)
    }

    fn enable(&mut self) -> Result<(), EnableError> {
        let admin = self.registers.enable()?;
        // The admin completion queue always interrupts, on vector 0 (PCIe transport, 3.5.1).
        let completion =
            CompletionQueue::new(admin.completion_base, admin.completion_entries, Some(0));
        let submission = SubmissionQueue::new(admin.submission_base, admin.submission_entries, 0);
        self.queues.create_completion(0, completion);
        self.queues.create_submission(0, submission);
        Ok(())
    }
}

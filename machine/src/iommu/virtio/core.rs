//! The parts of a unit that its callers and its threads share.

use std::sync::Arc;
use std::time::Duration;

use board::hardware::Width;
use parking_lot::{Mutex, RwLock};

use super::config::VirtioConfig;
use super::domains::Domains;
use super::engine::Engine;
use super::event::EventQueue;
use super::memory::QueueMemory;
use super::queue::VirtQueue;
use super::registers::{Effect, Registers};
use super::statistics::Counters;
use crate::iommu::in_flight::Gate;
use crate::iommu::reporter::Reporter;
use crate::iommu::worker::Worker;

/// One unit. Locks are taken in the order engine, front, domains.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: VirtioConfig,
    pub(super) reporter: Reporter,
    pub(super) memory: Arc<QueueMemory>,
    pub(super) front: Mutex<Front>,
    pub(super) domains: RwLock<Domains>,
    pub(super) engine: Mutex<Engine>,
    pub(super) in_flight: Gate,
    pub(super) counters: Counters,
    pub(super) worker: Worker,
}

/// What the driver sees: registers and queues.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) registers: Registers,
    pub(super) requests: Option<VirtQueue>,
    pub(super) events: Option<EventQueue>,
    pub(super) hooks: Hooks,
}

/// What tests do to the request queue, to try a driver's patience.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) held: bool,
    /// Whether the unit ever was slow on purpose: who got no answer in time may ask again.
    pub(super) tried_patience: bool,
    pub(super) fault: Option<super::QueueFault>,
    pub(super) latency: Duration,
    pub(super) not_before: Option<std::time::Instant>,
}

impl Core {
    pub(super) fn read_register(&self, offset: u64, width: Width) -> u64 {
        // Whoever polls lets time pass.
        self.step();
        self.front.lock().registers.read(offset, width)
    }

    pub(super) fn write_register(&self, offset: u64, width: Width, value: u64) {
        let effect = {
            let front = &mut *self.front.lock();
            let effect = front.registers.write(offset, width, value);
            match effect {
                Effect::Start => self.open_queues(front),
                Effect::Notify(hw::virtio::iommu::REQUEST_QUEUE) => {
                    self.counters.notifications.add_one();
                    front.hooks.notified();
                }
                Effect::Notify(_) => {
                    let events = front.events.as_mut();
                    if events.is_some_and(|events| events.refill(&self.reporter).is_err()) {
                        front.registers.need_reset();
                    }
                }
                Effect::None | Effect::Reset => {}
            }
            effect
        };
        if effect != Effect::None {
            self.worker.kick();
        }
    }

    /// The driver is ready: from here on its queues are used, and what it put in them before.
    fn open_queues(&self, front: &mut Front) {
        use hw::virtio::iommu::{EVENT_QUEUE, REQUEST_QUEUE};
        let event_idx = front.registers.accepted.event_idx();
        let open = |index| {
            let place = front.registers.queue(index)?;
            let name = Registers::queue_name(index);
            Some(VirtQueue::new(
                name,
                place,
                event_idx,
                &self.memory,
                &self.reporter,
            ))
        };
        let opened = (
            open(REQUEST_QUEUE).transpose(),
            open(EVENT_QUEUE).transpose(),
        );
        let (Ok(requests), Ok(events)) = opened else {
            front.registers.need_reset();
            return;
        };
        front.requests = requests;
        front.events = events.map(EventQueue::new);
        let events = front.events.as_mut();
        if events.is_some_and(|events| events.refill(&self.reporter).is_err()) {
            front.registers.need_reset();
        }
    }
}

impl Hooks {
    fn notified(&mut self) {
        self.not_before =
            (!self.latency.is_zero()).then(|| std::time::Instant::now() + self.latency);
    }

    /// Whether the unit does not look at the queue yet.
    pub(super) fn is_early(&self) -> bool {
        self.not_before
            .is_some_and(|moment| std::time::Instant::now() < moment)
    }
}

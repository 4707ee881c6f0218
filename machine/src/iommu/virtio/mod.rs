//! One virtio-iommu in the memory map, faithful and hostile.
//!
//! It has no tables: a driver maps and unmaps by requests in a queue, and the unit keeps what it was told. It refuses
//! what the manual refuses, answers when transactions in flight have landed, and in the random temper answers late and
//! out of order. What only a wrong driver does is a [finding](crate::findings).
//!
//! | a request of a device    | what software tells the unit      | what the unit tells      |
//! |--------------------------|-----------------------------------|--------------------------|
//! | `translate` one request  | `registers` the register file     | `event` fault reports    |
//! | `domains` where it goes  | `queue` virtqueues, over `memory` | `freed` audits           |
//! |                          | `request` what is in them         | `statistics` numbers     |
//! |                          | `engine` finds time for them      |                          |
//!
//! Locks: see `core`. A device's thread holds a guard while it copies, and never waits for the unit. The machine has no
//! wired interrupts: what the unit has to tell waits in its queues and its interrupt status.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::{hardware::Width, ram::Ram};
//! use hw::virtio::mmio;
//! use machine::bus::Access;
//! use machine::cache::{MemoryView, Snooping};
//! use machine::findings::Findings;
//! use machine::interrupts::Interrupts;
//! use machine::iommu::translator::{Destination, Translator};
//! use machine::iommu::virtio::{VirtioConfig, VirtioUnit};
//! use machine::iommu::{Unit, UnitEnvironment};
//! use machine::temper::Temper;
//!
//! let ram = Ram::new(&[0..0x10_0000])?;
//! let environment = UnitEnvironment {
//!     name: "viommu".to_owned(),
//!     walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
//!     ram,
//!     interrupts: Arc::new(Interrupts::new()),
//!     findings: Findings::new(),
//!     temper: Temper::Keep,
//!     seed: 1,
//! };
//! let unit = VirtioUnit::new(VirtioConfig::default(), environment)?;
//! assert_eq!(unit.read_register(mmio::DEVICE_ID, Width::Dword), 23);
//! // Until a driver says otherwise, endpoints without a domain pass.
//! let request = unit.translate(0x0018, 0x5000, Access::Read)?;
//! assert_eq!(request.destination(), Destination::Untranslated(0x5000));
//! # drop(request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod core;
mod domains;
mod engine;
mod event;
mod freed;
pub(crate) mod memory;
mod queue;
mod registers;
mod request;
mod statistics;
mod translate;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use board::hardware::Width;
use hw::virtio::iommu::request::Status;
use parking_lot::{Mutex, RwLock};

pub use config::{Reserved, ReservedKind, Unattached, VirtioConfig, VirtioConfigError};
pub use statistics::Statistics;

use self::core::{Core, Front, Hooks};
use self::domains::Domains;
use self::engine::Engine;
use self::registers::Registers;
use self::statistics::Counters;

use super::UnitEnvironment;
use super::in_flight::Gate;
use super::reporter::Reporter;
use super::translator::{InFlight, TranslationFault, Translator};
use super::worker::{Threads, Worker};
use crate::audit::Audit;
use crate::bus::Access;
use crate::temper::Temper;

/// Something that goes wrong with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFault {
    /// Nothing is done, and it is answered so.
    Answer(Status),
    /// It is taken and never heard of again.
    Lost,
    /// It is done, but the used ring names this number instead of its first descriptor.
    UsedAs(u32),
    /// The device says that it needs a reset, and does nothing more.
    NeedsReset,
}

/// A virtio-iommu.
///
/// Its thread ends with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct VirtioUnit {
    core: Arc<Core>,
    temper: Temper,
    seed: u64,
    threads: Threads,
}

impl VirtioUnit {
    /// A unit as after a reset of the machine.
    ///
    /// # Errors
    /// [`VirtioConfigError`] if no unit has this configuration, or the host has no thread or memory left for it.
    pub fn new(
        config: VirtioConfig,
        environment: UnitEnvironment,
    ) -> Result<Arc<Self>, VirtioConfigError> {
        let UnitEnvironment {
            name,
            ram,
            findings,
            temper,
            seed,
            ..
        } = environment;
        config.check()?;
        let reporter = Reporter::new(&name, &findings);
        let front = Front {
            registers: Registers::new(&config, reporter.clone()),
            requests: None,
            events: None,
            hooks: Hooks::default(),
        };
        let core = Arc::new(Core {
            config,
            reporter,
            memory: memory::map(&ram)?,
            front: Mutex::new(front),
            domains: RwLock::new(Domains::default()),
            engine: Mutex::new(Engine::new(temper, seed)),
            in_flight: Gate::new(),
            counters: Counters::default(),
            worker: Worker::default(),
        });
        let unit = Arc::new(Self {
            core,
            temper,
            seed,
            threads: Threads::default(),
        });
        let core = Arc::clone(&unit.core);
        unit.threads
            .spawn(format!("{name} engine"), move || {
                core.worker.run(|| core.step());
            })
            .map_err(VirtioConfigError::NoThread)?;
        Ok(unit)
    }

    /// What the unit did so far.
    pub fn statistics(&self) -> Statistics {
        self.core.counters.snapshot()
    }

    /// Requests translated and not yet done.
    pub fn requests_in_flight(&self) -> usize {
        self.core.in_flight.in_flight()
    }

    /// From now on no request is looked at, as if the unit hung; one begun is finished.
    pub fn hold_queue(&self) {
        let hooks = &mut self.core.front.lock().hooks;
        (hooks.held, hooks.tried_patience) = (true, true);
    }

    /// Ends [`hold_queue`](Self::hold_queue).
    pub fn release_queue(&self) {
        self.core.front.lock().hooks.held = false;
        self.core.worker.kick();
    }

    /// The next request meets `fault`.
    pub fn fail_queue(&self, fault: QueueFault) {
        self.core.front.lock().hooks.fault = Some(fault);
    }

    /// Whether no request has met what [`fail_queue`](Self::fail_queue) was told yet.
    pub fn is_queue_to_fail(&self) -> bool {
        self.core.front.lock().hooks.fault.is_some()
    }

    /// From now on the unit looks at requests only this long after it was notified.
    pub fn delay_queue(&self, latency: Duration) {
        let hooks = &mut self.core.front.lock().hooks;
        (hooks.latency, hooks.tried_patience) = (latency, true);
    }
}

impl Translator for VirtioUnit {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.core.translate(requester, bus, access)
    }
}

impl super::Unit for VirtioUnit {
    fn read_register(&self, offset: u64, width: Width) -> u64 {
        self.core.read_register(offset, width)
    }

    fn write_register(&self, offset: u64, width: Width, value: u64) {
        self.core.write_register(offset, width, value);
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.core.frames_freed(phys, len_bytes);
    }

    fn audit(&self, audit: &mut Audit) {
        self.core.audit(audit);
    }

    fn idle(&self) {
        self.core.step();
    }

    fn power_cycle(&self) {
        let core = &self.core;
        let mut engine = core.engine.lock();
        let mut front = core.front.lock();
        front.registers = Registers::new(&core.config, core.reporter.clone());
        // Who got no answer before asks again.
        front.hooks.tried_patience = true;
        front.requests = None;
        front.events = None;
        *core.domains.write() = Domains::default();
        *engine = Engine::new(self.temper, self.seed);
    }

    fn stop(&self) {
        self.core.worker.stop();
        self.threads.join();
    }
}

impl Drop for VirtioUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

//! One Arm SMMUv3, faithful and hostile.
//!
//! It reads the driver's tables and queues from memory, as the manual says, and refuses what the manual reserves.
//! Where the manual leaves hardware free, it takes the freedom that hurts most: caches forget nothing that was
//! not invalidated, and remember what is not valid; invalidations are not done before a synchronisation, and in the
//! worst order; registers acknowledge late. What only a wrong driver does is a [finding](crate::findings).
//!
//! | a request                    | what software tells the unit     | what the unit tells         |
//! |------------------------------|----------------------------------|-----------------------------|
//! | `translate` one request      | `registers` the register file    | `event_queue` records       |
//! | `stream_table` finds entries | `handshake` CR0, IRQ_CTRL, GBPA  | `gerror` global errors      |
//! | `entries` what they say      | `queue`, `invalidation`          | `message` its interrupts    |
//! | `walk`, `descriptor`         | `engine` finds time for          | `reach`, `freed` audits     |
//! | `privilege` who is granted   |                                  |                             |
//! | `cache` what it remembers    | `work` what was asked, `reuse`   | `statistics` numbers        |
//!
//! It has stage 1, stage 2 or both; tables of 48-bit addresses, of which it walks the lower range; it has neither
//! substreams, nor device-TLBs, page requests, stalls, secure streams or hypervisor contexts. Streams are PCI
//! requesters, counted from a first stream.
//!
//! Locks: see `core`. A device's thread holds a guard while it copies, and never waits for the unit.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::{hardware::Width, ram::Ram};
//! use hw::smmu::regs::{self, Idr0};
//! use machine::bus::Access;
//! use machine::cache::{MemoryView, Snooping};
//! use machine::findings::Findings;
//! use machine::interrupts::Interrupts;
//! use machine::iommu::smmu::{SmmuConfig, SmmuUnit};
//! use machine::iommu::translator::{Destination, Translator};
//! use machine::iommu::{Unit, UnitEnvironment};
//! use machine::temper::Temper;
//!
//! let ram = Ram::new(&[0..0x10_0000])?;
//! let environment = UnitEnvironment {
//!     name: "smmu0".to_owned(),
//!     walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
//!     ram,
//!     interrupts: Arc::new(Interrupts::new()),
//!     findings: Findings::new(),
//!     temper: Temper::Keep,
//!     seed: 1,
//! };
//! let unit = SmmuUnit::new(SmmuConfig::default(), environment)?;
//! let idr0 = Idr0::from_bits(unit.read_register(regs::IDR0, Width::Dword) as u32);
//! assert!(idr0.s1p() && idr0.s2p() && idr0.cohacc());
//! // Off after reset: firmware left requests to pass.
//! let request = unit.translate(0x0018, 0x5000, Access::Read)?;
//! assert_eq!(request.destination(), Destination::Untranslated(0x5000));
//! # drop(request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod config;
mod core;
mod descriptor;
mod engine;
mod entries;
mod event_queue;
mod freed;
mod gerror;
mod handshake;
mod invalidation;
mod message;
mod privilege;
mod queue;
mod reach;
mod registers;
mod reuse;
mod statistics;
mod stream_table;
mod translate;
mod walk;
mod work;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use board::hardware::Width;
use hw::smmu::regs;
use parking_lot::{Mutex, RwLock};

pub use super::queue_hooks::QueueFault;
pub use config::{CoherenceTold, SmmuConfig, SmmuConfigError, Stages, Support, WhileOff};
pub use statistics::Statistics;

use self::cache::Caches;
use self::core::{Core, Live};
use self::engine::Engine;
use self::entries::Rules;
use self::registers::{Registers, Work};
use self::statistics::Counters;

use super::UnitEnvironment;
use super::in_flight::Gate;
use super::messages::{Outbox, mailbox};
use super::reporter::Reporter;
use super::table_memory::{TableMemory, WriteBuffer};
use super::translator::{InFlight, TranslationFault, Translator};
use super::worker::{Threads, Worker};
use crate::audit::Audit;
use crate::bus::{Access, Privilege};
use crate::temper::Temper;

/// Bytes of its two pages of registers.
pub const REGISTERS_BYTES: u64 = 2 * regs::REGISTER_PAGE_BYTES;

/// An SMMUv3.
///
/// Its threads end with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct SmmuUnit {
    core: Arc<Core>,
    config: SmmuConfig,
    temper: Temper,
    seed: u64,
    outbox: Outbox,
    threads: Threads,
}

impl SmmuUnit {
    /// A unit as firmware leaves it: off, its queues off, no interrupts.
    ///
    /// # Errors
    /// [`SmmuConfigError`] if no unit has this configuration, or the host has no thread left for it.
    pub fn new(
        config: SmmuConfig,
        environment: UnitEnvironment,
    ) -> Result<Arc<Self>, SmmuConfigError> {
        let UnitEnvironment {
            name,
            walks,
            ram: _,
            interrupts,
            findings,
            temper,
            seed,
        } = environment;
        let id = config.identification(walks.snooping())?;
        let reporter = Reporter::new(&name, &findings);
        let (outbox, inbox) = mailbox();
        let registers = Registers::new(id, config.gbpa(), &outbox, reporter.clone());
        let live = while_off(&config);
        let core = Arc::new(Core {
            rules: Rules { id },
            first_stream: config.first_stream,
            reporter,
            tables: TableMemory::new(walks, WriteBuffer::Transparent),
            live: RwLock::new(live),
            caches: RwLock::new(Caches::new(temper, seed)),
            registers: Mutex::new(registers),
            engine: Mutex::new(Engine::new(temper, seed)),
            in_flight: Gate::new(),
            counters: Counters::default(),
            worker: Worker::default(),
            outbox: outbox.clone(),
        });
        let unit = Arc::new(Self {
            core,
            config,
            temper,
            seed,
            outbox,
            threads: Threads::default(),
        });
        let core = Arc::clone(&unit.core);
        unit.threads
            .spawn(format!("{name} engine"), move || {
                core.worker.run(|| core.step())
            })
            .and_then(|()| {
                unit.threads.spawn(format!("{name} messages"), move || {
                    inbox.deliver(&interrupts)
                })
            })
            .map_err(SmmuConfigError::NoThread)?;
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

    /// From now on no command is looked at, as if the unit hung; a command begun is finished.
    pub fn hold_queue(&self) {
        self.core.registers.lock().queue.hooks.held = true;
    }

    /// Ends [`hold_queue`](Self::hold_queue).
    pub fn release_queue(&self) {
        self.core.registers.lock().queue.hooks.held = false;
        self.core.worker.kick();
    }

    /// The next command meets `fault`.
    pub fn fail_queue(&self, fault: QueueFault) {
        self.core.registers.lock().queue.hooks.fault = Some(fault);
    }

    /// From now on the unit looks at commands only this long after the producer index was written.
    pub fn delay_queue(&self, latency: Duration) {
        self.core.registers.lock().queue.hooks.latency = latency;
    }

    /// From now on each synchronisation takes some of so many microseconds, by dice of `seed`, and the unit does nothing else
    /// meanwhile.
    pub fn slow_waits(&self, microseconds: RangeInclusive<u64>, seed: u64) {
        let hooks = &mut self.core.registers.lock().queue.hooks;
        hooks.slow_waits(microseconds, seed);
    }

    /// Whether the access is one that the registers allow (6.2).
    fn is_allowed(&self, offset: u64, width: Width) -> bool {
        let allowed = match width {
            Width::Dword => offset.is_multiple_of(4),
            Width::Qword => Registers::is_wide(offset),
            _ => false,
        };
        if !allowed {
            let phys = self.config.register_base + offset;
            self.core
                .reporter
                .illegal(format!("{width:?} access at phys {phys:#x}"));
        }
        allowed
    }
}

/// What becomes of requests after a reset.
fn while_off(config: &SmmuConfig) -> Live {
    match config.while_off {
        WhileOff::Bypass => Live::Bypass,
        WhileOff::Abort => Live::Abort,
    }
}

impl Translator for SmmuUnit {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.translate_with(Privilege::Unprivileged, requester, bus, access)
    }

    fn translate_with(
        &self,
        privilege: Privilege,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.core.translate(requester, bus, access, privilege)
    }
}

impl super::Unit for SmmuUnit {
    fn read_register(&self, offset: u64, width: Width) -> u64 {
        if !self.is_allowed(offset, width) {
            return width.ones();
        }
        if offset > regs::AIDR {
            // Whoever polls lets time pass.
            self.core.step();
        }
        let mut registers = self.core.registers.lock();
        let low = registers.read(offset).into();
        match width {
            Width::Qword => low | u64::from(registers.read(offset + 4)) << 32,
            _ => low,
        }
    }

    fn write_register(&self, offset: u64, width: Width, value: u64) {
        if !self.is_allowed(offset, width) {
            return;
        }
        let mut registers = self.core.registers.lock();
        let mut work = Work::None;
        match width {
            Width::Qword => registers.write_wide(offset, value),
            _ => work = registers.write(offset, value as u32),
        }
        drop(registers);
        self.core.wrote(work);
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.core.frames_freed(phys, len_bytes);
    }

    /// Stage 1 has no such permission (Arm ARM D8.4); whether stage 2 is used is software's choice.
    fn knows_write_only(&self) -> bool {
        !self.core.rules.id.idr0.s1p()
    }

    fn audit(&self, audit: &mut Audit) {
        self.core.audit(audit);
    }

    fn translates_messages(&self) -> bool {
        true
    }

    fn idle(&self) {
        self.core.step();
    }

    fn power_cycle(&self) {
        let core = &self.core;
        let mut engine = core.engine.lock();
        *core.live.write() = while_off(&self.config);
        *core.caches.write() = Caches::new(self.temper, self.seed);
        let (id, gbpa) = (core.rules.id, self.config.gbpa());
        *core.registers.lock() = Registers::new(id, gbpa, &self.outbox, core.reporter.clone());
        *engine = Engine::new(self.temper, self.seed);
    }

    fn stop(&self) {
        self.core.worker.stop();
        self.outbox.stop();
        self.threads.join();
    }
}

impl Drop for SmmuUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

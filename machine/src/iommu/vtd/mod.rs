//! One Intel VT-d remapping hardware unit, in legacy and in scalable mode, faithful and hostile.
//!
//! It reads the driver's tables and queue from memory, as the manual says, and refuses what the manual reserves.
//! Where the manual leaves hardware free, it takes the freedom that hurts most: caches forget nothing that
//! was not invalidated, nothing is done before someone waits for it, commands show their end late.
//! What only a wrong driver does is a [finding](crate::findings).
//!
//! | a request                | what software tells the unit     | what the unit tells      |
//! |--------------------------|----------------------------------|--------------------------|
//! | `translate` one request  | `registers` the register file    | `fault` fault records    |
//! | `contexts` whose tables  | `command` GCMD and GSTS          | `event` its interrupts   |
//! | `walk` the tables        | `queue`, `invalidation`          | `malformed` findings     |
//! | `entries`, `scalable`, `first_stage` what they say | `engine` finds time for | `freed`, `reach` what leads where |
//! | `stage` and what faults  | `work` what was asked            | `statistics` numbers     |
//! | `cache` what it remembers|                                  |                          |
//!
//! Locks: see `core`. A device's thread holds a guard while it copies, and never waits for the unit.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::{hardware::Width, ram::Ram};
//! use hw::vtd::regs::{self, Cap};
//! use machine::bus::Access;
//! use machine::cache::{MemoryView, Snooping};
//! use machine::findings::Findings;
//! use machine::interrupts::Interrupts;
//! use machine::iommu::translator::{Destination, Translator};
//! use machine::iommu::vtd::{VtdConfig, VtdUnit};
//! use machine::iommu::{Unit, UnitEnvironment};
//! use machine::temper::Temper;
//!
//! let ram = Ram::new(&[0..0x10_0000])?;
//! let environment = UnitEnvironment {
//!     name: "dmar0".to_owned(),
//!     walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
//!     ram,
//!     interrupts: Arc::new(Interrupts::new()),
//!     findings: Findings::new(),
//!     temper: Temper::Keep,
//!     seed: 1,
//! };
//! let unit = VtdUnit::new(VtdConfig::default(), environment)?;
//! let cap = Cap::from_bits(unit.read_register(regs::CAP_REG, Width::Qword));
//! assert_eq!(cap.guest_address_bits(), 48);
//! // Translation is off after reset.
//! let request = unit.translate(0x0018, 0x5000, Access::Read)?;
//! assert_eq!(request.destination(), Destination::Untranslated(0x5000));
//! # drop(request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod command;
mod config;
mod contexts;
mod core;
mod engine;
mod entries;
mod event;
mod fault;
mod first_stage;
mod freed;
mod invalidation;
mod malformed;
mod queue;
mod reach;
mod registers;
mod scalable;
mod stage;
mod statistics;
mod translate;
mod walk;
mod work;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use board::hardware::Width;
use hw::vtd::regs;
use parking_lot::{Mutex, RwLock};

pub use super::queue_hooks::QueueFault;
pub use config::{
    CachingMode, FaultCollapse, ScalableMode, Support, VtdConfig, VtdConfigError, WriteBuffer,
};
pub use statistics::Statistics;

use self::cache::Caches;
use self::core::{Core, InFlightRequests, Live};
use self::engine::Engine;
use self::entries::Rules;
use self::event::Event;
use self::fault::FaultLog;
use self::registers::{Lanes, Registers};
use self::statistics::Counters;

use super::UnitEnvironment;
use super::messages::{Outbox, mailbox};
use super::reporter::Reporter;
use super::table_memory::TableMemory;
use super::translator::{InFlight, TranslationFault, Translator};
use super::worker::{Threads, Worker};
use crate::audit::Audit;
use crate::bus::Access;
use crate::temper::Temper;

/// A VT-d remapping hardware unit.
///
/// Its threads end with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct VtdUnit {
    core: Arc<Core>,
    config: VtdConfig,
    temper: Temper,
    seed: u64,
    outbox: Outbox,
    threads: Threads,
}

impl VtdUnit {
    /// A unit as after reset: translation off, queue off, interrupts masked.
    ///
    /// # Errors
    /// [`VtdConfigError`] if no unit has this configuration, or the host has no thread left for it.
    pub fn new(
        config: VtdConfig,
        environment: UnitEnvironment,
    ) -> Result<Arc<Self>, VtdConfigError> {
        let UnitEnvironment {
            name,
            walks,
            ram,
            interrupts,
            findings,
            temper,
            seed,
        } = environment;
        let (cap, ecap) = config.capabilities(walks.snooping())?;
        let reporter = Reporter::new(&name, &findings);
        let (outbox, inbox) = mailbox();
        let rules = Rules::new(&config, cap, ecap);
        let registers = fresh_registers(&config, &rules, &outbox, &reporter);
        let core = Arc::new(Core {
            rules,
            reporter,
            tables: TableMemory::new(walks, config.write_buffer),
            ram,
            live: Live::default(),
            caches: RwLock::new(Caches::new(temper, seed)),
            registers: Mutex::new(registers),
            engine: Mutex::new(Engine::new(temper, seed)),
            in_flight: InFlightRequests::default(),
            counters: Counters::default(),
            worker: Worker::default(),
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
            .map_err(VtdConfigError::NoThread)?;
        Ok(unit)
    }

    /// What the unit did so far.
    pub fn statistics(&self) -> Statistics {
        self.core.counters.snapshot()
    }

    /// Requests translated and not yet done.
    pub fn requests_in_flight(&self) -> usize {
        self.core.in_flight.reads.in_flight() + self.core.in_flight.writes.in_flight()
    }

    /// From now on no descriptor is looked at, as if the unit hung; a descriptor begun is finished.
    pub fn hold_queue(&self) {
        self.core.registers.lock().queue.hooks.held = true;
    }

    /// Ends [`hold_queue`](Self::hold_queue).
    pub fn release_queue(&self) {
        self.core.registers.lock().queue.hooks.held = false;
        self.core.worker.kick();
    }

    /// The next descriptor meets `fault`.
    pub fn fail_queue(&self, fault: QueueFault) {
        self.core.registers.lock().queue.hooks.fault = Some(fault);
    }

    /// From now on the unit looks at descriptors only this long after the tail was written.
    pub fn delay_queue(&self, latency: Duration) {
        self.core.registers.lock().queue.hooks.latency = latency;
    }

    /// From now on each wait descriptor takes some of so many microseconds, by dice of `seed`, and the unit does nothing else
    /// meanwhile.
    pub fn slow_waits(&self, microseconds: RangeInclusive<u64>, seed: u64) {
        let hooks = &mut self.core.registers.lock().queue.hooks;
        hooks.slow_waits(microseconds, seed);
    }

    fn lanes(&self, offset: u64, width: Width) -> Option<(u64, Lanes)> {
        let slot = offset / 8 * 8;
        let lanes = match (width, offset % 8) {
            (Width::Dword, 0) => Lanes::Low,
            (Width::Dword, 4) => Lanes::High,
            (Width::Qword, 0) => Lanes::Both,
            _ => {
                let phys = self.config.register_base + offset;
                self.core
                    .reporter
                    .illegal(format!("{width:?} access at phys {phys:#x}"));
                return None;
            }
        };
        if lanes == Lanes::Both && Registers::is_pair(slot) {
            let phys = self.config.register_base + offset;
            self.core.reporter.illegal(format!(
                "one access to the two 32-bit registers at phys {phys:#x}"
            ));
        }
        Some((slot, lanes))
    }
}

/// Registers as after reset.
fn fresh_registers(
    config: &VtdConfig,
    rules: &Rules,
    outbox: &Outbox,
    reporter: &Reporter,
) -> Registers {
    let [fault_event, completion_event] = [outbox.clone(), outbox.clone()].map(Event::new);
    let faults = FaultLog::new(config.fault_records, config.fault_collapse, fault_event);
    Registers::new(
        rules.cap,
        rules.ecap,
        faults,
        completion_event,
        reporter.clone(),
    )
}

impl Translator for VtdUnit {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.core.translate(requester, bus, access)
    }
}

impl super::Unit for VtdUnit {
    fn read_register(&self, offset: u64, width: Width) -> u64 {
        let Some((slot, lanes)) = self.lanes(offset, width) else {
            return width.ones();
        };
        if !matches!(slot, regs::VER_REG | regs::CAP_REG | regs::ECAP_REG) {
            // Whoever polls lets time pass.
            self.core.step();
        }
        let value = self.core.registers.lock().read(slot, lanes);
        match lanes {
            Lanes::Low => value & Width::Dword.ones(),
            Lanes::High => value >> 32,
            Lanes::Both => value,
        }
    }

    fn write_register(&self, offset: u64, width: Width, value: u64) {
        let Some((slot, lanes)) = self.lanes(offset, width) else {
            return;
        };
        let value = match lanes {
            Lanes::Low => value & Width::Dword.ones(),
            Lanes::High => value << 32,
            Lanes::Both => value,
        };
        let work = self.core.registers.lock().write(slot, lanes, value);
        self.core.wrote(work);
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.core.frames_freed(phys, len_bytes);
    }

    /// First-stage tables have no such permission (9.9); whether they are used is software's choice.
    fn knows_write_only(&self) -> bool {
        !self.core.rules.ecap.fsts()
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
        core.live.reset();
        *core.caches.write() = Caches::new(self.temper, self.seed);
        let fresh = fresh_registers(&self.config, &core.rules, &self.outbox, &core.reporter);
        *core.registers.lock() = fresh;
        *engine = Engine::new(self.temper, self.seed);
    }

    fn stop(&self) {
        self.core.worker.stop();
        self.outbox.stop();
        self.threads.join();
    }
}

impl Drop for VtdUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

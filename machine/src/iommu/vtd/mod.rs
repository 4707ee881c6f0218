//! One Intel VT-d remapping hardware unit in legacy mode, faithful and hostile.
//!
//! It reads the driver's tables and queue from memory, as the manual says, and refuses what the manual reserves.
//! Where the manual leaves hardware free, it takes the freedom that hurts most: caches forget nothing that
//! was not invalidated, nothing is done before someone waits for it, commands show their end late.
//! What only a wrong driver does is a [finding](crate::findings).
//!
//! | a request                | what software tells the unit     | what the unit tells      |
//! |--------------------------|----------------------------------|--------------------------|
//! | `translate` one request  | `registers` the register file    | `fault` fault records    |
//! | `walk` the tables        | `command` GCMD and GSTS          | `event` its interrupts   |
//! | `entries` what they say  | `queue`, `invalidation`          | `freed`, `report` audits |
//! | `cache` what it remembers| `engine` finds time for          | `statistics` numbers     |
//! | `memory` how walks read  | `work` what was asked            |                          |
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
mod core;
mod engine;
mod entries;
mod event;
mod fault;
mod freed;
mod invalidation;
mod memory;
mod queue;
mod reach;
mod registers;
mod report;
mod reporter;
mod statistics;
mod translate;
mod walk;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use board::hardware::Width;
use hw::vtd::regs;
use parking_lot::{Mutex, RwLock};

pub use config::{CachingMode, FaultCollapse, Support, VtdConfig, VtdConfigError, WriteBuffer};
pub use queue::QueueFault;
pub use statistics::Statistics;

use self::cache::Caches;
use self::core::{Core, InFlightRequests, Live, Wake};
use self::engine::Engine;
use self::entries::Rules;
use self::event::Outgoing;
use self::fault::FaultLog;
use self::memory::TableMemory;
use self::registers::{Lanes, Registers};
use self::reporter::Reporter;
use self::statistics::Counters;

use super::UnitEnvironment;
use super::translator::{InFlight, TranslationFault, Translator};
use crate::audit::Audit;
use crate::bus::Access;
use crate::interrupts::Interrupts;

/// A VT-d remapping hardware unit.
///
/// Its threads end with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct VtdUnit {
    core: Arc<Core>,
    register_base: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        let (fault_event, completion_event, inbox) = event::pair();
        let faults = FaultLog::new(config.fault_records, config.fault_collapse, fault_event);
        let registers = Registers::new(cap, ecap, faults, completion_event, reporter.clone());
        let core = Arc::new(Core {
            rules: Rules::new(&config, cap, ecap),
            reporter,
            tables: TableMemory::new(walks, config.write_buffer),
            ram,
            live: Live::default(),
            caches: RwLock::new(Caches::new(temper, seed)),
            registers: Mutex::new(registers),
            engine: Mutex::new(Engine::new(temper, seed)),
            in_flight: InFlightRequests::default(),
            counters: Counters::default(),
            wake: Wake::default(),
        });
        let register_base = config.register_base;
        let unit = Arc::new(Self {
            core,
            register_base,
            threads: Mutex::default(),
        });
        let worker = Arc::clone(&unit.core);
        unit.spawn(format!("{name} engine"), move || worker.run())?;
        unit.spawn(format!("{name} messages"), move || {
            deliver(&inbox, &interrupts)
        })?;
        Ok(unit)
    }

    fn spawn(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), VtdConfigError> {
        let thread = thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|error| VtdConfigError::NoThread(error.kind()))?;
        self.threads.lock().push(thread);
        Ok(())
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
        self.core.registers.lock().queue.held = true;
    }

    /// Ends [`hold_queue`](Self::hold_queue).
    pub fn release_queue(&self) {
        self.core.registers.lock().queue.held = false;
        self.core.kick();
    }

    /// The next descriptor meets `fault`.
    pub fn fail_queue(&self, fault: QueueFault) {
        self.core.registers.lock().queue.fault = Some(fault);
    }

    /// From now on the unit looks at descriptors only this long after the tail was written.
    pub fn delay_queue(&self, latency: Duration) {
        self.core.registers.lock().queue.latency = latency;
    }

    fn lanes(&self, offset: u64, width: Width) -> Option<(u64, Lanes)> {
        let slot = offset / 8 * 8;
        let lanes = match (width, offset % 8) {
            (Width::Dword, 0) => Lanes::Low,
            (Width::Dword, 4) => Lanes::High,
            (Width::Qword, 0) => Lanes::Both,
            _ => {
                let phys = self.register_base + offset;
                self.core
                    .reporter
                    .illegal(format!("{width:?} access at phys {phys:#x}"));
                return None;
            }
        };
        if lanes == Lanes::Both && Registers::is_pair(slot) {
            let phys = self.register_base + offset;
            self.core.reporter.illegal(format!(
                "one access to the two 32-bit registers at phys {phys:#x}"
            ));
        }
        Some((slot, lanes))
    }
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

    fn audit(&self, audit: &mut Audit) {
        self.core.audit(audit);
    }

    fn idle(&self) {
        self.core.step();
    }

    fn stop(&self) {
        *self.core.wake.stop.lock() = true;
        self.core.wake.changed.notify_all();
        self.core.registers.lock().completion_event.stop();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}

impl Drop for VtdUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

/// The thread that delivers: a handler may well wait for the unit, so none of the unit's locks is held here.
fn deliver(inbox: &Receiver<Outgoing>, interrupts: &Interrupts) {
    while let Ok(Outgoing::Message(message)) = inbox.recv() {
        interrupts.deliver(message.bus, message.data);
    }
}

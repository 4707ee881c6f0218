//! One AMD-Vi IOMMU, faithful and hostile.
//!
//! It reads the driver's tables and commands from memory, as the manual says, and refuses what the manual reserves.
//! Where the manual leaves hardware free, it takes the freedom that hurts most: caches forget nothing that
//! was not invalidated, device table entries included; an entry is read a word at a time, in any order; events appear
//! in memory after their tail; switches show their end late. What only a wrong driver does is a
//! [finding](crate::findings).
//!
//! | a request                | what software tells the unit     | what the unit tells      |
//! |--------------------------|----------------------------------|--------------------------|
//! | `translate` one request  | `registers` the register file    | `log` the event log      |
//! | `walk` the tables        | `ring` the command buffer        | `interrupt` its message  |
//! | `entries` what they say  | `engine` finds time for          | `freed` what leads where |
//! | `cache` what it remembers| `work` what was asked            | `statistics` numbers     |
//!
//! It has neither guest translation nor devices' own caches nor interrupt remapping nor page requests.
//! Locks: see `core`. A device's thread holds a guard while it copies, and never waits for the unit.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::{hardware::Width, ram::Ram};
//! use hw::amd::regs::{self, ExtendedFeatures};
//! use machine::bus::Access;
//! use machine::cache::{MemoryView, Snooping};
//! use machine::findings::Findings;
//! use machine::interrupts::Interrupts;
//! use machine::iommu::amd::{AmdConfig, AmdUnit};
//! use machine::iommu::translator::{Destination, Translator};
//! use machine::iommu::{Unit, UnitEnvironment};
//! use machine::temper::Temper;
//!
//! let ram = Ram::new(&[0..0x10_0000])?;
//! let environment = UnitEnvironment {
//!     name: "ivhd0".to_owned(),
//!     walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
//!     ram,
//!     interrupts: Arc::new(Interrupts::new()),
//!     findings: Findings::new(),
//!     temper: Temper::Keep,
//!     seed: 1,
//! };
//! let unit = AmdUnit::new(AmdConfig::default(), environment)?;
//! let features = unit.read_register(regs::EXTENDED_FEATURES, Width::Qword);
//! assert_eq!(ExtendedFeatures::from_bits(features).hats().levels(), Some(6));
//! // Translation is off after reset.
//! let request = unit.translate(0x0018, 0x5000, Access::Read)?;
//! assert_eq!(request.destination(), Destination::Untranslated(0x5000));
//! # drop(request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod config;
mod core;
mod engine;
mod entries;
mod freed;
mod geometry;
mod interrupt;
mod log;
mod reach;
mod registers;
mod ring;
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
use hw::amd::regs::{self, ExtendedFeatures};
use parking_lot::{Mutex, RwLock};

pub use super::queue_hooks::QueueFault;
pub use config::{AmdConfig, AmdConfigError, EventInterrupt, Support};
pub use statistics::Statistics;

use self::cache::Caches;
use self::core::{Core, Live};
use self::engine::Engine;
use self::entries::Rules;
use self::interrupt::Interrupt;
use self::registers::{Lanes, Registers};
use self::statistics::Counters;

use super::UnitEnvironment;
use super::in_flight::Gate;
use super::messages::{Outbox, mailbox};
use super::reporter::Reporter;
use super::table_memory::{TableMemory, WriteBuffer};
use super::translator::{InFlight, TranslationFault, Translator};
use super::worker::{Threads, Worker};
use crate::audit::Audit;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::temper::{Dice, Temper};

/// An AMD-Vi IOMMU.
///
/// Its threads end with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct AmdUnit {
    core: Arc<Core>,
    config: AmdConfig,
    fresh: Fresh,
    outbox: Outbox,
    threads: Threads,
}

/// What registers and caches are made of after a reset.
#[derive(Debug)]
struct Fresh {
    features: ExtendedFeatures,
    coherent: bool,
    temper: Temper,
    seed: u64,
}

impl AmdUnit {
    /// A unit as after reset: everything off.
    ///
    /// # Errors
    /// [`AmdConfigError`] if no unit has this configuration, or the host has no thread left for it.
    pub fn new(
        config: AmdConfig,
        environment: UnitEnvironment,
    ) -> Result<Arc<Self>, AmdConfigError> {
        let UnitEnvironment {
            name,
            walks,
            ram,
            interrupts,
            findings,
            temper,
            seed,
        } = environment;
        let features = config.features()?;
        let reporter = Reporter::new(&name, &findings);
        let (outbox, inbox) = mailbox();
        let fresh = Fresh {
            features,
            coherent: walks.snooping() == Snooping::On,
            temper,
            seed,
        };
        let registers = fresh.registers(&config, &outbox, &reporter);
        let core = Arc::new(Core {
            rules: Rules::new(features, config.host_address_bits),
            reporter,
            tables: TableMemory::new(walks, WriteBuffer::Transparent),
            ram,
            live: Live::default(),
            caches: RwLock::new(Caches::new(temper, seed)),
            registers: Mutex::new(registers),
            engine: Mutex::new(Engine::new(temper, seed)),
            in_flight: Gate::new(),
            counters: Counters::default(),
            worker: Worker::default(),
            dice: Dice::new(seed),
        });
        let unit = Arc::new(Self {
            core,
            config,
            fresh,
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
            .map_err(AmdConfigError::NoThread)?;
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
        self.core.registers.lock().ring.hooks.held = true;
    }

    /// Ends [`hold_queue`](Self::hold_queue).
    pub fn release_queue(&self) {
        self.core.registers.lock().ring.hooks.held = false;
        self.core.worker.kick();
    }

    /// From now on memory does not show what the event log's tail covers.
    pub fn hold_events(&self) {
        self.core.registers.lock().log.held = true;
    }

    /// Ends [`hold_events`](Self::hold_events).
    pub fn release_events(&self) {
        self.core.registers.lock().log.held = false;
        self.core.worker.kick();
    }

    /// The next command meets `fault`.
    pub fn fail_queue(&self, fault: QueueFault) {
        self.core.registers.lock().ring.hooks.fault = Some(fault);
    }

    /// From now on the unit looks at commands only this long after the tail was written.
    pub fn delay_queue(&self, latency: Duration) {
        self.core.registers.lock().ring.hooks.latency = latency;
    }

    /// From now on each completion wait takes some of so many microseconds, by dice of `seed`, and the unit does nothing else
    /// meanwhile.
    pub fn slow_waits(&self, microseconds: RangeInclusive<u64>, seed: u64) {
        let hooks = &mut self.core.registers.lock().ring.hooks;
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
        Some((slot, lanes))
    }
}

impl Fresh {
    fn registers(&self, config: &AmdConfig, outbox: &Outbox, reporter: &Reporter) -> Registers {
        let interrupt = Interrupt::new(config.event_interrupt, outbox.clone());
        Registers::new(self.features, self.coherent, interrupt, reporter.clone())
    }
}

impl Translator for AmdUnit {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.core.translate(requester, bus, access)
    }
}

impl super::Unit for AmdUnit {
    fn read_register(&self, offset: u64, width: Width) -> u64 {
        let Some((slot, lanes)) = self.lanes(offset, width) else {
            return width.ones();
        };
        // Whoever polls lets time pass; one look at the event log's tail is none.
        if !matches!(slot, regs::EXTENDED_FEATURES | regs::EVENT_TAIL) {
            self.core.step();
        }
        let value = self.core.registers.lock().read(slot);
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

    fn power_cycle(&self) {
        let (core, fresh) = (&self.core, &self.fresh);
        let mut engine = core.engine.lock();
        core.live.set_translating(false);
        *core.caches.write() = Caches::new(fresh.temper, fresh.seed);
        let mut registers = core.registers.lock();
        *registers = fresh.registers(&self.config, &self.outbox, &core.reporter);
        core.live.follow(&registers);
        *engine = Engine::new(fresh.temper, fresh.seed);
    }

    fn stop(&self) {
        self.core.worker.stop();
        self.outbox.stop();
        self.threads.join();
    }
}

impl Drop for AmdUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

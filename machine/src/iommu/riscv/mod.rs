//! One RISC-V IOMMU, faithful and hostile.
//!
//! It reads the driver's tables and queues from memory, as the manual says, and refuses what the manual reserves.
//! Where the manual leaves hardware free, it takes the freedom that hurts most: caches forget nothing that was not
//! invalidated, invalidations are carried out at the next fence and in reverse, a device context is read word by word
//! with its valid bit first, control registers are busy until they were read twice, registers that the manual leaves
//! open hold anything. What only a wrong driver does is a [finding](crate::findings).
//!
//! | a request                  | what software tells the unit    | what the unit tells      |
//! |----------------------------|---------------------------------|--------------------------|
//! | `translate` one request    | `registers` the register file   | `fault` the fault queue  |
//! | `walk` the tables          | `ddtp` mode and directory       | `event` its interrupts   |
//! | `entries` device contexts  | `queue` the command queue       | `freed` audits           |
//! | `page_entry` page tables   | `invalidation` what stands in it| `statistics` numbers     |
//! | `cache` what it remembers  | `busy` registers that take time |                          |
//! |                            | `engine` finds time for         |                          |
//! |                            | `work` what was asked           |                          |
//!
//! It has no process directories, no address translation services, no MSI page tables, and one stage at a time.
//! Writes of messages are translated like any other.
//!
//! Locks: see `core`. A device's thread holds a guard while it copies, and never waits for the unit.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::{hardware::Width, ram::Ram};
//! use hw::riscv::regs::{self, Capabilities};
//! use machine::bus::Access;
//! use machine::cache::{MemoryView, Snooping};
//! use machine::findings::Findings;
//! use machine::interrupts::Interrupts;
//! use machine::iommu::riscv::{RiscvConfig, RiscvUnit};
//! use machine::iommu::translator::Translator;
//! use machine::iommu::{Unit, UnitEnvironment};
//! use machine::temper::Temper;
//!
//! let ram = Ram::new(&[0..0x10_0000])?;
//! let environment = UnitEnvironment {
//!     name: "iommu0".to_owned(),
//!     walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
//!     ram,
//!     interrupts: Arc::new(Interrupts::new()),
//!     findings: Findings::new(),
//!     temper: Temper::Keep,
//!     seed: 1,
//! };
//! let unit = RiscvUnit::new(RiscvConfig::default(), environment)?;
//! let capabilities = Capabilities::from_bits(unit.read_register(regs::CAPABILITIES, Width::Qword));
//! assert!(capabilities.sv57() && capabilities.sv57x4());
//! // After reset every request is refused: all inbound transactions disallowed.
//! let refused = unit.translate(0x0018, 0x5000, Access::Read).map(drop);
//! assert_eq!(refused.map_err(|fault| fault.reason), Err(256));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod busy;
mod cache;
mod config;
mod core;
mod ddtp;
mod engine;
mod entries;
mod event;
mod fault;
mod freed;
mod invalidation;
mod page_entry;
mod queue;
mod reach;
mod registers;
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
use hw::riscv::regs::{self, Capabilities, Ddtp, IommuMode};
use parking_lot::{Mutex, RwLock};

pub use super::queue_hooks::QueueFault;
pub use config::{AtReset, Extension, RiscvConfig, RiscvConfigError};
pub use statistics::Statistics;

use self::cache::Caches;
use self::core::{Core, InFlightRequests, Live};
use self::ddtp::DirectoryPointer;
use self::engine::Engine;
use self::entries::Rules;
use self::event::Events;
use self::registers::{Lanes, Registers};
use self::statistics::Counters;

use super::UnitEnvironment;
use super::messages::{Outbox, mailbox};
use super::reporter::Reporter;
use super::table_memory::{TableMemory, WriteBuffer};
use super::translator::{InFlight, TranslationFault, Translator};
use super::worker::{Threads, Worker};
use crate::audit::Audit;
use crate::bus::Access;
use crate::temper::{Dice, Temper};

/// A RISC-V IOMMU.
///
/// Its threads end with [`stop`](super::Unit::stop), or when it is dropped.
#[derive(Debug)]
pub struct RiscvUnit {
    core: Arc<Core>,
    config: RiscvConfig,
    temper: Temper,
    seed: u64,
    outbox: Outbox,
    threads: Threads,
}

impl RiscvUnit {
    /// A unit as after reset: queues off, no directory.
    ///
    /// # Errors
    /// [`RiscvConfigError`] if no unit has this configuration, or the host has no thread left for it.
    pub fn new(
        config: RiscvConfig,
        environment: UnitEnvironment,
    ) -> Result<Arc<Self>, RiscvConfigError> {
        let UnitEnvironment {
            name,
            walks,
            ram: _,
            interrupts,
            findings,
            temper,
            seed,
        } = environment;
        let capabilities = config.capabilities()?;
        let reporter = Reporter::new(&name, &findings);
        let (outbox, inbox) = mailbox();
        let at_reset = mode_at_reset(&config);
        let dice = Dice::new(seed);
        let registers = fresh_registers(&config, capabilities, &outbox, &reporter, dice.next_u64());
        let core = Arc::new(Core {
            rules: Rules::new(&config, capabilities),
            reporter,
            tables: TableMemory::new(walks, WriteBuffer::Transparent),
            live: Live::new(at_reset),
            caches: RwLock::new(Caches::new(temper, dice.next_u64())),
            registers: Mutex::new(registers),
            engine: Mutex::new(Engine::new(temper, dice.next_u64())),
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
            .map_err(RiscvConfigError::NoThread)?;
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

    /// Whether no command has met what [`fail_queue`](Self::fail_queue) was told yet.
    pub fn is_queue_to_fail(&self) -> bool {
        self.core.registers.lock().queue.hooks.fault.is_some()
    }

    /// From now on the unit looks at commands only this long after the tail was written.
    pub fn delay_queue(&self, latency: Duration) {
        self.core.registers.lock().queue.hooks.latency = latency;
    }

    /// From now on each fence that tells software takes some of so many microseconds, by dice of `seed`, and the unit does nothing else
    /// meanwhile.
    pub fn slow_waits(&self, microseconds: RangeInclusive<u64>, seed: u64) {
        let hooks = &mut self.core.registers.lock().queue.hooks;
        hooks.slow_waits(microseconds, seed);
    }

    fn lanes(&self, offset: u64, width: Width) -> Option<(u64, Lanes)> {
        let slot = offset / 8 * 8;
        let phys = self.config.register_base + offset;
        let lanes = match (width, offset % 8) {
            (Width::Dword, 0) => Lanes::Low,
            (Width::Dword, 4) => Lanes::High,
            (Width::Qword, 0) => Lanes::Both,
            _ => {
                self.core
                    .reporter
                    .illegal(format!("{width:?} access at phys {phys:#x}"));
                return None;
            }
        };
        if lanes == Lanes::Both && Registers::is_pair(slot) {
            self.core.reporter.illegal(format!(
                "one access to the two 32-bit registers at phys {phys:#x}"
            ));
        }
        Some((slot, lanes))
    }
}

/// What becomes of requests after a reset.
fn mode_at_reset(config: &RiscvConfig) -> IommuMode {
    match config.at_reset {
        AtReset::Off => IommuMode::Off,
        AtReset::Bare => IommuMode::Bare,
    }
}

/// Registers as after reset.
fn fresh_registers(
    config: &RiscvConfig,
    capabilities: Capabilities,
    outbox: &Outbox,
    reporter: &Reporter,
    seed: u64,
) -> Registers {
    Registers::new(
        capabilities,
        DirectoryPointer::new(
            mode_at_reset(config),
            config.directory_levels.clone(),
            config.physical_address_bits,
        ),
        Events::new(config.vectors_log2, outbox.clone()),
        reporter.clone(),
        seed,
    )
}

impl Translator for RiscvUnit {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        self.core.translate(requester, bus, access)
    }
}

impl super::Unit for RiscvUnit {
    fn read_register(&self, offset: u64, width: Width) -> u64 {
        let Some((slot, lanes)) = self.lanes(offset, width) else {
            return width.ones();
        };
        if slot != regs::CAPABILITIES {
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

    /// W without R is reserved in both stages (RISC-V privileged specification, 12.3.1).
    fn knows_write_only(&self) -> bool {
        false
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
        let dice = Dice::new(self.seed);
        let mut engine = core.engine.lock();
        core.live
            .set(Ddtp::new().with_iommu_mode(mode_at_reset(&self.config)));
        *core.caches.write() = Caches::new(self.temper, dice.next_u64());
        {
            let mut registers = core.registers.lock();
            let capabilities = registers.capabilities;
            *registers = fresh_registers(
                &self.config,
                capabilities,
                &self.outbox,
                &core.reporter,
                dice.next_u64(),
            );
        }
        *engine = Engine::new(self.temper, dice.next_u64());
    }

    fn stop(&self) {
        self.core.worker.stop();
        self.outbox.stop();
        self.threads.join();
    }
}

impl Drop for RiscvUnit {
    fn drop(&mut self) {
        super::Unit::stop(self);
    }
}

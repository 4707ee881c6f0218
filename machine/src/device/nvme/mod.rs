//! An NVMe disk over a file of the host: a faithful controller that can be made hostile.
//!
//! ```text
//!   CPU ── BAR 0 ──► registers.rs ─┐
//!              └───► queue_set.rs ─┤ shared.rs
//!                                  ▼
//!                 engine.rs (its thread) ── admin.rs, io.rs ── backing.rs ── file
//!                   │ transfer.rs, prp.rs, complete.rs
//!                   └── FunctionPort ──► memory, MSI-X
//! ```
//!
//! What there is:
//! - admin commands: identify, create and delete queue, set and get features (number of queues, volatile
//!   write cache), abort (which never finds anything left to abort), asynchronous event request;
//! - I/O commands: read, write, flush;
//! - PRPs with chained lists, memory pages of 4 to 64 KiB, round-robin arbitration, MSI-X;
//! - one namespace of 512-byte blocks.
//!
//! What there is not: get log page, SGLs, metadata, interrupt pins, queues that are not contiguous.
//!
//! [`Misbehaviour`] makes it fail on purpose; [`NvmeConfig::rogue`] makes it also reach for memory it was
//! not given.
//!
//! ```
//! use machine::device::nvme::{Medium, NvmeConfig, NvmeController};
//! use machine::findings::Findings;
//!
//! let file = tempfile::tempfile()?;
//! file.set_len(1000)?;
//! let disk = NvmeController::new(NvmeConfig::new(file, 1000, Medium::ReadOnly), Findings::new())?;
//! assert_eq!(disk.statistics().io_commands, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admin;
mod backing;
mod complete;
mod config;
mod engine;
mod events;
mod identify;
mod io;
mod misuse;
mod prp;
mod queue;
mod queue_set;
mod registers;
mod rogue;
mod shared;
mod statistics;
#[cfg(test)]
mod tests;
mod transfer;
mod window;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use board::hardware::Width;
use hw::nvme::regs;
use hw::pci::config::class;
use parking_lot::Mutex;

pub use backing::BLOCK_BYTES;
pub use config::{CompletionOrder, Medium, Misbehaviour, NeverReady, NvmeConfig, NvmeConfigError};
pub use rogue::{Breach, RogueReport, RogueTarget};
pub use statistics::NvmeStatistics;

use crate::findings::{FindingKind, Findings};
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
    MsixDescription,
};
use backing::Backing;
use engine::{Disk, Engine};
use queue_set::Doorbell;
use registers::Registers;
use rogue::Rogue;
use shared::Shared;

/// A vendor id nobody has.
const VENDOR_ID: u16 = 0x1de5;
const DEVICE_ID: u16 = 0x0e01;

/// The BAR of registers and doorbells, and that of the MSI-X table.
const REGISTERS_BAR: usize = 0;
const MSIX_BAR: usize = 4;

/// An NVMe controller with one namespace.
pub struct NvmeController {
    name: String,
    address_lines: u32,
    io_queues: u16,
    doorbell_stride_bytes: u64,
    shared: Arc<Shared>,
    /// Until [`start`](FunctionModel::start).
    disk: Mutex<Option<Disk>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl NvmeController {
    /// A controller as `config` says, which tells misuse to `findings`.
    ///
    /// # Errors
    /// [`NvmeConfigError`] for limits that cannot be, or a file that cannot have the length.
    pub fn new(config: NvmeConfig, findings: Findings) -> Result<Self, NvmeConfigError> {
        config.check()?;
        let len_bytes = config.len_bytes;
        let backing = Backing::new(config.file, len_bytes, config.medium)
            .map_err(|source| NvmeConfigError::Length { len_bytes, source })?;
        let registers = Registers::new(config.queue_entries, config.doorbell_stride_log2);
        let doorbell_stride_bytes = registers.capabilities().doorbell_stride_bytes();
        let disk = Disk {
            backing,
            max_transfer_pages_log2: config.max_transfer_pages_log2,
            io_queues: config.io_queues,
            serial: config.name.clone(),
            order: config.order,
            misbehaviour: config.misbehaviour,
            rogue: config
                .rogue
                .map(|seed| Rogue::new(seed, config.address_lines)),
        };
        Ok(Self {
            name: config.name.clone(),
            address_lines: config.address_lines,
            io_queues: config.io_queues,
            doorbell_stride_bytes,
            shared: Arc::new(Shared::new(
                config.name,
                registers,
                config.io_queues,
                findings,
            )),
            disk: Mutex::new(Some(disk)),
            thread: Mutex::new(None),
        })
    }

    /// What it has done so far.
    pub fn statistics(&self) -> NvmeStatistics {
        self.shared.counters.statistics()
    }

    /// What came of its attempts to leave its mappings; none if it is not rogue.
    pub fn rogue_report(&self) -> RogueReport {
        self.shared.counters.rogue_report()
    }

    fn misuse(&self, detail: impl ToString) {
        self.shared.report(FindingKind::IllegalRegisterUse, detail);
    }

    fn ring(&self, offset: u64, width: Width, value: u64) {
        let index = (offset - regs::DOORBELLS) / self.doorbell_stride_bytes;
        if width != Width::Dword || !offset.is_multiple_of(self.doorbell_stride_bytes) {
            return self.misuse(format_args!(
                "{width:?} write at {offset:#x} is no doorbell write"
            ));
        }
        let queue = u16::try_from(index / 2).unwrap_or(u16::MAX);
        let doorbell = if index.is_multiple_of(2) {
            Doorbell::SubmissionTail(queue)
        } else {
            Doorbell::CompletionHead(queue)
        };
        self.shared.ring(doorbell, value as u32);
    }
}

impl FunctionModel for NvmeController {
    fn description(&self) -> FunctionDescription {
        let vectors = self.io_queues + 1;
        let doorbells = 2 * u64::from(vectors) * self.doorbell_stride_bytes;
        let pending_offset = (16 * u32::from(vectors)).next_multiple_of(2048);
        let msix_bytes = u64::from(pending_offset) + 8 * u64::from(vectors.div_ceil(64));
        FunctionDescription {
            name: self.name.clone(),
            vendor_id: VENDOR_ID,
            device_id: DEVICE_ID,
            class_code: class::NVME,
            attachment: Attachment::Express,
            bars: vec![
                BarDescription {
                    index: REGISTERS_BAR,
                    kind: BarKind::Memory64,
                    len_bytes: (regs::DOORBELLS + doorbells).next_power_of_two(),
                },
                BarDescription {
                    index: MSIX_BAR,
                    kind: BarKind::Memory32,
                    len_bytes: msix_bytes.next_power_of_two().max(4096),
                },
            ],
            msix: Some(MsixDescription {
                vectors,
                bar: MSIX_BAR,
                table_offset: 0,
                pending_offset,
            }),
            address_lines: self.address_lines,
        }
    }

    fn start(self: Arc<Self>, port: FunctionPort) {
        let Some(disk) = self.disk.lock().take() else {
            return;
        };
        let engine = Engine::new(Arc::clone(&self.shared), port, disk);
        match thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || engine.run())
        {
            Ok(thread) => *self.thread.lock() = Some(thread),
            Err(error) => {
                log::error!("{}: no thread for the controller: {error}", self.name);
                self.shared.fatal();
            }
        }
    }

    fn read(&self, bar: usize, offset: u64, width: Width) -> u64 {
        if bar != REGISTERS_BAR {
            return width.ones();
        }
        if offset >= regs::DOORBELLS {
            self.misuse(format_args!(
                "read of a doorbell at {offset:#x}: doorbells are written only"
            ));
            return 0;
        }
        self.shared
            .state
            .lock()
            .registers
            .read(offset, width)
            .unwrap_or_else(|misuse| {
                self.misuse(misuse);
                width.ones()
            })
    }

    fn write(&self, bar: usize, offset: u64, width: Width, value: u64) {
        if bar != REGISTERS_BAR {
            return;
        }
        if offset >= regs::DOORBELLS {
            return self.ring(offset, width, value);
        }
        let written = self
            .shared
            .state
            .lock()
            .registers
            .write(offset, width, value);
        self.shared.notify();
        if let Err(misuse) = written {
            self.misuse(misuse);
        }
    }

    fn reset(&self) {
        self.shared.state.lock().registers.function_reset();
        self.shared.notify();
    }

    fn stop(&self) {
        self.shared.stop();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            log::error!("{}: the controller's thread panicked", self.name);
        }
    }
}

impl Drop for NvmeController {
    fn drop(&mut self) {
        self.stop();
    }
}

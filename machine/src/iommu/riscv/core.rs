//! The parts of a unit that its callers and its threads share.

use std::sync::atomic::{AtomicU64, Ordering};

use hw::riscv::regs::{Ddtp, IommuMode};
use parking_lot::{Mutex, RwLock};

use super::cache::Caches;
use super::engine::Engine;
use super::entries::Rules;
use super::registers::Registers;
use super::statistics::Counters;
use super::walk::Directory;
use crate::bus::Access;
use crate::iommu::in_flight::{Gate, Guard};
use crate::iommu::reporter::Reporter;
use crate::iommu::table_memory::TableMemory;
use crate::iommu::worker::Worker;

/// One unit. Locks are taken in the order engine, caches or registers; the last two never together.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) rules: Rules,
    pub(super) reporter: Reporter,
    /// What walks read, and queues read and write.
    pub(super) tables: TableMemory,
    pub(super) live: Live,
    pub(super) caches: RwLock<Caches>,
    pub(super) registers: Mutex<Registers>,
    pub(super) engine: Mutex<Engine>,
    pub(super) in_flight: InFlightRequests,
    pub(super) counters: Counters,
    pub(super) worker: Worker,
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Off,
    Bare,
    Translating(Directory),
}

/// What the registers came to, as requests see it.
#[derive(Debug)]
pub(super) struct Live(AtomicU64);

impl Live {
    pub(super) fn new(at_reset: IommuMode) -> Self {
        Self(AtomicU64::new(
            Ddtp::new().with_iommu_mode(at_reset).into_bits(),
        ))
    }

    pub(super) fn mode(&self) -> Mode {
        let ddtp = Ddtp::from_bits(self.0.load(Ordering::SeqCst));
        match (ddtp.iommu_mode(), ddtp.iommu_mode().levels()) {
            (_, Some(levels)) => Mode::Translating(Directory {
                root: ddtp.root(),
                levels,
            }),
            (IommuMode::Bare, None) => Mode::Bare,
            (_, None) => Mode::Off,
        }
    }

    /// The directory in use, if there is one.
    pub(super) fn directory(&self) -> Option<Directory> {
        match self.mode() {
            Mode::Translating(directory) => Some(directory),
            Mode::Off | Mode::Bare => None,
        }
    }

    pub(super) fn set(&self, ddtp: Ddtp) {
        self.0.store(ddtp.into_bits(), Ordering::SeqCst);
    }
}

/// Requests in flight, reads and writes apart as `PR` and `PW` of a fence order them apart.
#[derive(Debug, Default)]
pub(super) struct InFlightRequests {
    pub(super) reads: Gate,
    pub(super) writes: Gate,
}

impl InFlightRequests {
    pub(super) fn enter(&self, access: Access) -> Guard<'_> {
        match access {
            Access::Read => self.reads.enter(),
            Access::Write => self.writes.enter(),
        }
    }
}

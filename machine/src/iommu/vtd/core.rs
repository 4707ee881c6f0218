//! The parts of a unit that its callers and its threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use board::ram::Ram;
use parking_lot::{Mutex, RwLock};

use super::cache::Caches;
use super::engine::Engine;
use super::entries::Rules;
use super::registers::Registers;
use super::statistics::Counters;
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
    /// What walks read.
    pub(super) tables: TableMemory,
    /// What the queue reads and waits write: always coherent.
    pub(super) ram: Arc<Ram>,
    pub(super) live: Live,
    pub(super) caches: RwLock<Caches>,
    pub(super) registers: Mutex<Registers>,
    pub(super) engine: Mutex<Engine>,
    pub(super) in_flight: InFlightRequests,
    pub(super) counters: Counters,
    pub(super) worker: Worker,
}

/// Which tables translate (`RTADDR.TTM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Legacy,
    Scalable,
}

/// Where the tables begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootTable {
    pub(super) phys: u64,
    pub(super) mode: Mode,
}

/// What the registers came to, as requests see it.
#[derive(Debug)]
pub(super) struct Live {
    translating: AtomicBool,
    root_table: AtomicU64,
}

/// No root table was ever set, or none that is well formed.
const NO_ROOT_TABLE: u64 = u64::MAX;
/// Beside a root table's address, of a frame: it is one of scalable mode.
const SCALABLE: u64 = 1;

impl Default for Live {
    fn default() -> Self {
        Self {
            translating: AtomicBool::new(false),
            root_table: AtomicU64::new(NO_ROOT_TABLE),
        }
    }
}

impl Live {
    /// As after reset.
    pub(super) fn reset(&self) {
        self.translating.store(false, Ordering::SeqCst);
        self.root_table.store(NO_ROOT_TABLE, Ordering::SeqCst);
    }

    pub(super) fn is_translating(&self) -> bool {
        self.translating.load(Ordering::SeqCst)
    }

    pub(super) fn set_translating(&self, on: bool) {
        self.translating.store(on, Ordering::SeqCst);
    }

    /// The root table in use.
    pub(super) fn root_table(&self) -> Option<RootTable> {
        let word = self.root_table.load(Ordering::SeqCst);
        let mode = if word & SCALABLE == 0 {
            Mode::Legacy
        } else {
            Mode::Scalable
        };
        (word != NO_ROOT_TABLE).then_some(RootTable {
            phys: word & !SCALABLE,
            mode,
        })
    }

    pub(super) fn set_root_table(&self, table: Option<RootTable>) {
        let word = match table {
            None => NO_ROOT_TABLE,
            Some(RootTable { phys, mode }) => match mode {
                Mode::Legacy => phys,
                Mode::Scalable => phys | SCALABLE,
            },
        };
        self.root_table.store(word, Ordering::SeqCst);
    }
}

/// Requests in flight, reads and writes apart as `DR` and `DW` drain them apart.
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

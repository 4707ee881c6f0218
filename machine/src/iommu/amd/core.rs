//! The parts of a unit that its callers and its threads share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use board::ram::Ram;
use hw::amd::regs::{DeviceTableBase, ExclusionBase, ExclusionLimit};
use parking_lot::{Mutex, RwLock};

use super::cache::Caches;
use super::engine::Engine;
use super::entries::Rules;
use super::registers::Registers;
use super::statistics::Counters;
use crate::iommu::in_flight::Gate;
use crate::iommu::reporter::Reporter;
use crate::iommu::table_memory::TableMemory;
use crate::iommu::worker::Worker;
use crate::temper::Dice;

/// One unit. Locks are taken in the order engine, caches or registers; the last two never together.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) rules: Rules,
    pub(super) reporter: Reporter,
    /// What walks read.
    pub(super) tables: TableMemory,
    /// What the rings, and the stores of completion waits, see: always coherent.
    pub(super) ram: Arc<Ram>,
    pub(super) live: Live,
    pub(super) caches: RwLock<Caches>,
    pub(super) registers: Mutex<Registers>,
    pub(super) engine: Mutex<Engine>,
    pub(super) in_flight: Gate,
    pub(super) counters: Counters,
    pub(super) worker: Worker,
    pub(super) dice: Dice,
}

/// What the registers came to, as requests see it.
#[derive(Debug, Default)]
pub(super) struct Live {
    translating: AtomicBool,
    device_table: AtomicU64,
    exclusion_base: AtomicU64,
    exclusion_limit: AtomicU64,
    /// Devices that made requests or that software named: the search for freed frames looks at their entries, not at
    /// all 65536 for every frame.
    known: Mutex<BTreeSet<u16>>,
}

impl Live {
    pub(super) fn is_translating(&self) -> bool {
        self.translating.load(Ordering::SeqCst)
    }

    pub(super) fn set_translating(&self, on: bool) {
        self.translating.store(on, Ordering::SeqCst);
    }

    /// The device table in use.
    pub(super) fn device_table(&self) -> DeviceTableBase {
        DeviceTableBase::from_bits(self.device_table.load(Ordering::SeqCst))
    }

    /// What the registers say now.
    pub(super) fn follow(&self, registers: &Registers) {
        let table = registers.device_table.into_bits();
        self.device_table.store(table, Ordering::SeqCst);
        let limit = registers.exclusion_limit.into_bits();
        self.exclusion_limit.store(limit, Ordering::SeqCst);
        let base = registers.exclusion_base.into_bits();
        self.exclusion_base.store(base, Ordering::SeqCst);
    }

    /// Whether `bus` is excluded from translation, for all devices or for those whose entry says so.
    pub(super) fn excludes(&self, bus: u64, by_entry: bool) -> bool {
        let base = ExclusionBase::from_bits(self.exclusion_base.load(Ordering::SeqCst));
        let limit = ExclusionLimit::from_bits(self.exclusion_limit.load(Ordering::SeqCst));
        base.exen() && (base.allow() || by_entry) && (base.base()..=limit.limit()).contains(&bus)
    }

    /// `device` made a request, or software named it.
    pub(super) fn note(&self, device: u16) {
        self.known.lock().insert(device);
    }

    /// All of them.
    pub(super) fn known(&self) -> Vec<u16> {
        self.known.lock().iter().copied().collect()
    }
}

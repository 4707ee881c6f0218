//! The parts of a unit that its callers and its threads share.

use parking_lot::{Mutex, RwLock};

use super::cache::Caches;
use super::engine::Engine;
use super::entries::Rules;
use super::registers::Registers;
use super::statistics::Counters;
use super::stream_table::StreamTable;
use crate::iommu::in_flight::Gate;
use crate::iommu::messages::Outbox;
use crate::iommu::reporter::Reporter;
use crate::iommu::table_memory::TableMemory;
use crate::iommu::worker::Worker;

/// One unit. Locks are taken in the order engine, caches or registers; the last two never together.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) rules: Rules,
    /// The stream of requester 0.
    pub(super) first_stream: u32,
    pub(super) reporter: Reporter,
    /// What walks, and fetches of commands, read, and events and messages are written to.
    pub(super) tables: TableMemory,
    pub(super) live: RwLock<Live>,
    pub(super) caches: RwLock<Caches>,
    pub(super) registers: Mutex<Registers>,
    pub(super) engine: Mutex<Engine>,
    pub(super) in_flight: Gate,
    pub(super) counters: Counters,
    pub(super) worker: Worker,
    /// Where the messages of synchronisations go that are interrupts.
    pub(super) outbox: Outbox,
}

/// What the registers came to, as requests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// Off: requests pass, or are aborted.
    Bypass,
    Abort,
    On(StreamTable),
    /// On, with a stream table that is none: every stream is outside it.
    OnWithoutTable,
}

impl Live {
    pub(super) fn stream_table(self) -> Option<StreamTable> {
        match self {
            Self::On(table) => Some(table),
            _ => None,
        }
    }
}

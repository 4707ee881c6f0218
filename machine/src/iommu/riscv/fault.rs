//! The fault queue: records that the unit writes to memory (3.2, 5.9 to 5.11, 5.16).

use std::ops::Range;

use hw::riscv::fault::{FaultRecord, RECORD_BYTES};
use hw::riscv::regs::{FaultQueueControl, QueueBase};

use super::busy::Busy;
use super::queue::Switch;
use crate::cache::MemoryView;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// It has a record.
    Recorded,
    /// The queue is off, full, or stands still after an error.
    Lost,
}

/// Registers and state of the queue.
#[derive(Debug, Default)]
pub(super) struct FaultQueue {
    pub(super) base: QueueBase,
    /// Indices.
    pub(super) head: u32,
    pub(super) tail: u32,
    /// `fqcsr`, but for `fqon` and `busy`.
    pub(super) control: FaultQueueControl,
    pub(super) switch: Busy<Switch>,
    /// It is active, whatever the register shows yet.
    pub(super) on: bool,
    shown_on: bool,
}

impl FaultQueue {
    /// Records a fault.
    pub(super) fn log(&mut self, memory: &MemoryView, fault: FaultRecord) -> Logged {
        // 1. While an error is not cleared nothing is recorded.
        if !self.on || self.control.fqmf() || self.control.fqof() {
            return Logged::Lost;
        }
        // 2. A queue that is full overflows.
        let next = (self.tail + 1) & self.index_mask();
        if next == self.head {
            self.control.set_fqof(true);
            return Logged::Lost;
        }
        // 3. The record, and only then the tail that tells of it.
        let at = self.base.base() + u64::from(self.tail) * RECORD_BYTES;
        let stored = (at..)
            .step_by(8)
            .zip(fault.to_words())
            .all(|(at, word)| memory.store_u64(at, word).is_ok());
        if !stored {
            self.control.set_fqmf(true);
            return Logged::Lost;
        }
        self.tail = next;
        Logged::Recorded
    }

    /// Whether an interrupt condition stays until software clears it (5.18).
    pub(super) fn condition(&self) -> bool {
        self.control.fie() && (self.control.fqmf() || self.control.fqof())
    }

    /// Only as many bits as the queue has entries can be written (5.10).
    pub(super) fn index_mask(&self) -> u32 {
        (self.base.entries() - 1) as u32
    }

    /// Carries out what `fqen` asked for.
    pub(super) fn turn(&mut self, switch: Switch) {
        self.on = switch == Switch::On;
        if self.on {
            self.tail = 0;
            self.clear(FaultQueueControl::new().with_fqmf(true).with_fqof(true));
        }
    }

    /// Software wrote ones to error bits.
    pub(super) fn clear(&mut self, value: FaultQueueControl) {
        self.control.set_fqmf(self.control.fqmf() && !value.fqmf());
        self.control.set_fqof(self.control.fqof() && !value.fqof());
    }

    /// Software reads `fqcsr`.
    pub(super) fn poll(&mut self) -> FaultQueueControl {
        if let Some(switch) = self.switch.poll() {
            self.shown_on = switch == Switch::On;
        }
        self.control
            .with_fqon(self.shown_on)
            .with_busy(self.switch.is_busy())
    }

    /// Physical range of the queue, while it is used.
    pub(super) fn frames(&self) -> Option<Range<u64>> {
        let start = self.base.base();
        self.on
            .then(|| start..start + self.base.entries() * RECORD_BYTES)
    }
}

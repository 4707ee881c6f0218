//! The command queue (3.1): the unit's side of the [command ring](crate::iommu::command_ring).

use hw::riscv::command::{COMMAND_BYTES, Fence};
use hw::riscv::regs::{self, QueueBase};

use super::registers::Registers;
use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::command_ring::{Command, CommandRing, FenceSign, GONE, RingPorts};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Entries of the one frame the queue uses.
const ENTRIES: u32 = 256;

/// The queue of one unit, empty.
pub(super) fn new<P: Platform>(
    platform: P,
    coherence: WalkCoherence,
) -> Result<CommandRing<P>, OutOfFrames> {
    CommandRing::new(platform, COMMAND_BYTES, coherence)
}

/// What `cqb` is set to.
pub(super) fn base<P: Platform>(queue: &CommandRing<P>) -> QueueBase {
    QueueBase::new()
        .with_base(queue.phys().as_u64())
        .with_entries_log2(queue.count_log2() as u8)
}

impl<P: Platform> RingPorts<P> for Registers<P> {
    const SIGN: FenceSign = FenceSign::StatusWord;

    fn bound(&self) -> &Bound<P> {
        self.bound()
    }

    fn read_head(&self) -> Option<u32> {
        let head = self.read_u32(regs::CQH);
        (head != u32::MAX).then_some(head)
    }

    fn publish_tail(&self, tail: u32) {
        // The ordered write puts the commands, and the table changes they are about, in memory before the unit is
        // told.
        self.tail().write(tail % ENTRIES);
    }

    /// All that was asked is done, and requests that were translated before it have reached memory (3.1.2).
    fn fence(&self, sequence: u32, status: PhysAddr) -> Command {
        Fence::status_words(sequence, status.as_u64())
    }

    /// Whether the unit has stopped fetching (5.15).
    fn check(&self) -> Result<(), UnitError> {
        let control = self.read_cqcsr();
        let reason = if control.into_bits() == u32::MAX {
            GONE
        } else if control.cqmf() {
            "a command was not fetched, or what it writes not written"
        } else if control.cmd_ill() {
            "illegal or unsupported command"
        } else if control.cmd_to() {
            "a command timed out"
        } else {
            return Ok(());
        };
        Err(UnitError::QueueStopped {
            unit: self.base(),
            entry: self.read_head().unwrap_or(0),
            reason,
        })
    }
}

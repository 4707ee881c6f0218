//! The command queue (3.5, 4): the unit's side of the [command ring](crate::iommu::command_ring).
//!
//! Invalidations have no order among each other: what one of them relies on is submitted, and so synchronised,
//! before it (4.7.3).

use hw::smmu::command::{COMMAND_BYTES, Sync};
use hw::smmu::regs::{self, CommandConsumer, CommandError, Gerror, QueueBase, QueueIndex};

use super::registers::Registers;
use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::command_ring::{Command, CommandRing, FenceSign, GONE, RingPorts};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// log2 of the entries in the one frame the queue uses.
pub(super) const LOG2_SIZE: u8 = 8;

/// The queue of one unit, empty. Its end of a submission is a `CMD_SYNC`, and is over when it was consumed.
pub(super) fn new<P: Platform>(
    platform: P,
    coherence: WalkCoherence,
) -> Result<CommandRing<P>, OutOfFrames> {
    CommandRing::new(platform, COMMAND_BYTES, coherence)
}

/// What CMDQ_BASE is set to.
pub(super) fn base<P: Platform>(queue: &CommandRing<P>) -> QueueBase {
    QueueBase::new()
        .with_log2size(queue.count_log2() as u8)
        .with_addr(queue.phys().as_u64())
        .with_allocate(true)
}

impl<P: Platform> RingPorts<P> for Registers<P> {
    const SIGN: FenceSign = FenceSign::Head;

    fn bound(&self) -> &Bound<P> {
        self.bound()
    }

    fn read_head(&self) -> Option<u32> {
        // That bit 31 is zero tells an index from no answer.
        let read = self.read_u32(regs::CMDQ_CONS);
        let index = CommandConsumer::from_bits(read).index();
        (read != u32::MAX).then_some(QueueIndex::new().with_index(index).entry(LOG2_SIZE.into()))
    }

    fn publish_tail(&self, tail: u32) {
        // The ordered write puts the commands, and the table changes they are about, in memory before the unit is
        // told. Above the index stands the wrap bit, as the unit wants it.
        let producer = QueueIndex::new().with_index(tail);
        self.producer().write(producer.into_bits());
    }

    fn fence(&self, _sequence: u32, _status: PhysAddr) -> Command {
        const SYNC: Command = Sync::new().with_cs(Sync::SIG_NONE).to_words();
        SYNC
    }

    /// Whether a command stopped the queue (7.1).
    fn check(&self) -> Result<(), UnitError> {
        // Raised and acknowledged, the two registers of a unit that is gone say the same.
        let is_gone = self.read_u32(regs::GERROR) == u32::MAX;
        if !is_gone && !self.active_errors().cmdq_err() {
            return Ok(());
        }
        let consumer = CommandConsumer::from_bits(self.read_u32(regs::CMDQ_CONS));
        Err(UnitError::QueueStopped {
            unit: self.base(),
            entry: self.read_head().unwrap_or(0),
            reason: match consumer.err() {
                _ if is_gone => GONE,
                CommandError::None => "no reason given",
                CommandError::Illegal => "illegal command",
                CommandError::Abort => "command fetch aborted",
                CommandError::AtcInvalidation => "device-TLB invalidation timed out",
                CommandError::Reserved => "unknown reason",
            },
        })
    }
}

impl<P: Platform> Registers<P> {
    /// Global errors that nobody has acknowledged (7.5).
    pub(super) fn active_errors(&self) -> Gerror {
        let [raised, acknowledged] =
            [regs::GERROR, regs::GERRORN].map(|offset| self.read_u32(offset));
        Gerror::from_bits(raised ^ acknowledged)
    }

    /// Acknowledges `errors`, which are active.
    pub(super) fn acknowledge(&self, errors: Gerror) {
        let acknowledged = self.read_u32(regs::GERRORN);
        self.write_u32(regs::GERRORN, acknowledged ^ errors.into_bits());
    }
}

//! The invalidation queue (VT-d 6.5.2): the unit's side of the [command ring](crate::iommu::command_ring).

use hw::vtd::invalidation::{DESCRIPTOR_BYTES, Wait};
use hw::vtd::regs::{
    self, FaultStatus, QueueAddress, QueueErrorInfo, QueueErrorRecord, QueuePointer,
};

use super::registers::Registers;
use crate::addr::{FRAME_BYTES, PhysAddr};
use crate::iommu::bound::Bound;
use crate::iommu::command_ring::{Command, CommandRing, FenceSign, GONE, RingPorts};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// The queue of one unit, of one frame (IQA.QS = 0), empty.
pub(super) fn new<P: Platform>(
    platform: P,
    registers: &Registers<P>,
) -> Result<CommandRing<P>, OutOfFrames> {
    // Queue fetches and status writes are snooped whatever ECAP.C says (VT-d 11.4.3, C: it covers root,
    // context, PASID and page-table accesses).
    CommandRing::new(
        platform,
        registers.descriptor_bytes(),
        WalkCoherence::Snooped,
    )
}

/// What IQA_REG is set to.
pub(super) fn address<P: Platform>(
    registers: &Registers<P>,
    queue: &CommandRing<P>,
) -> QueueAddress {
    QueueAddress::new()
        .with_dw(registers.descriptor_bytes() != DESCRIPTOR_BYTES)
        .with_iqa(queue.phys().as_u64())
}

impl<P: Platform> RingPorts<P> for Registers<P> {
    const SIGN: FenceSign = FenceSign::StatusWord;

    fn bound(&self) -> &Bound<P> {
        self.bound()
    }

    fn read_head(&self) -> Option<u32> {
        let head = self.read_u64(regs::IQH_REG);
        let offset = QueuePointer::from_bits(head).offset();
        (head != u64::MAX).then_some((offset / self.descriptor_bytes()) as u32)
    }

    fn publish_tail(&self, tail: u32) {
        let offset = u64::from(tail) * self.descriptor_bytes() % FRAME_BYTES;
        // The ordered write puts the descriptors, and the table changes they are about, in memory
        // before the unit is told.
        self.tail()
            .write(QueuePointer::from_offset(offset).into_bits());
    }

    fn fence(&self, sequence: u32, status: PhysAddr) -> Command {
        Wait::status_words(sequence, status.as_u64())
    }

    /// Whether the unit has stopped fetching (VT-d 6.5.2.9, IQE).
    fn check(&self) -> Result<(), UnitError> {
        let status = self.read_u32(regs::FSTS_REG);
        if !FaultStatus::from_bits(status).iqe() {
            return Ok(());
        }
        let record = QueueErrorRecord::from_bits(self.read_u64(regs::IQERCD_REG));
        Err(UnitError::QueueStopped {
            unit: self.base(),
            entry: self.read_head().unwrap_or(0),
            reason: match record.iqei() {
                _ if status == u32::MAX => GONE,
                QueueErrorInfo::Unknown => "no reason given",
                QueueErrorInfo::InvalidTail => "tail outside the queue",
                QueueErrorInfo::DescriptorFetch => "descriptor fetch failed",
                QueueErrorInfo::InvalidDescriptorType => "unknown descriptor type",
                QueueErrorInfo::ReservedField => "reserved field not zero",
                QueueErrorInfo::InvalidDescriptorWidth => "descriptor width not supported",
                QueueErrorInfo::TailNotAligned => "tail not aligned",
                QueueErrorInfo::InvalidTranslationTableMode => "wrong table mode",
            },
        })
    }
}

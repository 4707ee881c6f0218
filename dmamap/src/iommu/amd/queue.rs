//! The command buffer (48882 2.4): the unit's side of the [command ring](crate::iommu::command_ring).

use hw::amd::command::CompletionWait;
use hw::amd::event::EventCode;
use hw::amd::regs::{self, RING_ENTRY_BYTES, RingBase, RingPointer};

use super::AmdUnit;
use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::command_ring::{Command, CommandRing, FenceSign, GONE, RingPorts};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// log2 of the entries of the one frame the ring uses.
const ENTRIES_LOG2: u8 = 8;
const ENTRIES: u32 = 1 << ENTRIES_LOG2;

/// The ring of one unit, empty.
pub(super) fn new<P: Platform>(platform: P) -> Result<CommandRing<P>, OutOfFrames> {
    // Commands are fetched, and completion waits store, coherently; what firmware says of coherence is about the
    // device table and page tables.
    CommandRing::new(platform, RING_ENTRY_BYTES, WalkCoherence::Snooped)
}

/// What the base register is set to.
pub(super) fn base<P: Platform>(ring: &CommandRing<P>) -> RingBase {
    RingBase::new()
        .with_base(ring.phys().as_u64())
        .with_entries_log2(ENTRIES_LOG2)
}

impl<P: Platform> RingPorts<P> for AmdUnit<P> {
    const SIGN: FenceSign = FenceSign::StatusWord;

    fn bound(&self) -> &Bound<P> {
        self.registers.bound()
    }

    fn read_head(&self) -> Option<u32> {
        let head = self.registers.read_u64(regs::COMMAND_HEAD);
        let offset = RingPointer::from_bits(head).offset();
        // Emulations have been seen whose head reads as the end of the ring before it wraps.
        (head != u64::MAX).then_some((offset / RING_ENTRY_BYTES) as u32 % ENTRIES)
    }

    fn publish_tail(&self, tail: u32) {
        let offset = u64::from(tail % ENTRIES) * RING_ENTRY_BYTES;
        // The ordered write puts the commands, and the table changes they are about, in memory before the unit
        // is told.
        let tail = RingPointer::from_offset(offset);
        self.registers.tail().write(tail.into_bits());
    }

    fn fence(&self, sequence: u32, status: PhysAddr) -> Command {
        CompletionWait::store_words(sequence.into(), status.as_u64())
    }

    /// Whether the unit has stopped fetching: it logged why.
    fn check(&self) -> Result<(), UnitError> {
        let is_gone = self.registers.is_gone();
        if !is_gone && !self.registers.has_stopped() {
            return Ok(());
        }
        Err(UnitError::QueueStopped {
            unit: self.registers.base(),
            entry: self.read_head().unwrap_or(0),
            reason: match is_gone {
                true => GONE,
                false => self.logged_reason(),
            },
        })
    }
}

impl<P: Platform> AmdUnit<P> {
    /// Why it stopped, as it logged it.
    fn logged_reason(&self) -> &'static str {
        let logged = self.log.command_error(&self.registers);
        logged.map_or("no reason given", EventCode::text)
    }

    /// Hands `commands` to the unit and waits until they are done. Nothing is cached before the unit is on.
    pub(super) fn submit(&self, commands: &[Command], what: &'static str) -> Result<(), UnitError> {
        if !self.is_on() {
            return Ok(());
        }
        self.running.queue.submit(self, commands, what)
    }
}

//! The command buffer (48882 2.4): the unit's side of the [command ring](crate::iommu::command_ring), and what is
//! asked of the unit.

use hw::amd::command::{
    CompletionWait, InvalidateAll, InvalidateDeviceEntry, InvalidatePages, PageRange,
};
use hw::amd::device_table::MAX_ENTRIES;
use hw::amd::regs::{self, RING_ENTRY_BYTES, RingBase, RingPointer};

use super::AmdUnit;
use crate::addr::{FRAME_SIZE_LOG2, PhysAddr};
use crate::iommu::bound::Bound;
use crate::iommu::command_ring::{Batch, Command, CommandRing, FenceSign, MAX_BATCH, RingPorts};
use crate::iommu::unit::{Change, DomainId, UnitError};
use crate::pagetable::{TableChange, WalkCoherence};
use crate::platform::{OutOfFrames, Platform};

/// log2 of the entries of the one frame the ring uses.
const ENTRIES_LOG2: u8 = 8;
const ENTRIES: u32 = 1 << ENTRIES_LOG2;

/// Domain ids there are: the cached translations of each can be asked to be forgotten.
pub(super) const DOMAIN_IDS: u32 = 1 << 16;

/// The ring of one unit, empty.
pub(super) fn new<P: Platform>(platform: P) -> Result<CommandRing<P>, OutOfFrames> {
    // Commands are fetched, and completion waits store, coherently; what firmware says of coherence is about the
    // device table and page tables.
    CommandRing::new(
        platform,
        RING_ENTRY_BYTES,
        FenceSign::StatusWord,
        WalkCoherence::Snooped,
    )
}

/// What the base register is set to.
pub(super) fn base<P: Platform>(ring: &CommandRing<P>) -> RingBase {
    RingBase::new()
        .with_base(ring.phys().as_u64())
        .with_entries_log2(ENTRIES_LOG2)
}

impl<P: Platform> RingPorts<P> for AmdUnit<P> {
    fn bound(&self) -> &Bound<P> {
        self.registers.bound()
    }

    fn read_head(&self) -> u32 {
        let head = RingPointer::from_bits(self.registers.read_u64(regs::COMMAND_HEAD)).offset();
        // Emulations have been seen whose head reads as the end of the ring before it wraps.
        (head / RING_ENTRY_BYTES) as u32 % ENTRIES
    }

    fn publish_tail(&self, tail: u32) {
        let offset = u64::from(tail % ENTRIES) * RING_ENTRY_BYTES;
        // The ordered write puts the commands, and the table changes they are about, in memory before the unit
        // is told.
        let tail = RingPointer::from_offset(offset);
        self.registers
            .write_u64(regs::COMMAND_TAIL, tail.into_bits());
    }

    fn fence(&self, sequence: u32, status: PhysAddr) -> Command {
        CompletionWait::new()
            .with_s(true)
            .with_store_address(status.as_u64())
            .with_store_data(sequence.into())
            .to_words()
    }

    /// Whether the unit has stopped fetching: it logged why.
    fn check(&self) -> Result<(), UnitError> {
        if !self.registers.has_stopped() {
            return Ok(());
        }
        Err(UnitError::QueueStopped {
            unit: self.registers.base(),
            entry: self.read_head(),
            reason: match self.log.command_error(&self.registers) {
                Some(code) => code.text(),
                None => "no reason given",
            },
        })
    }
}

impl<P: Platform> AmdUnit<P> {
    /// Hands `commands` to the unit and waits until they are done. Nothing is cached before the unit is on.
    pub(super) fn submit(&self, commands: &[Command], what: &'static str) -> Result<(), UnitError> {
        if !self.is_on() {
            return Ok(());
        }
        self.running.queue.submit(self, commands, what)
    }

    /// Makes the unit forget the entry of `device`.
    pub(super) fn forget_entry(&self, device: u16) -> Result<(), UnitError> {
        self.submit(&[entry_command(device)], "device entry invalidation")
    }

    /// Makes the unit forget the entry of `device` and all of `domain`.
    pub(super) fn forget_device(&self, device: u16, domain: DomainId) -> Result<(), UnitError> {
        // The entry first: a translation made from a stale entry after the pages were forgotten would stay. And waited
        // for: the unit may do the commands before a completion wait in any order, or at once (2.4).
        self.forget_entry(device)?;
        self.submit(&[domain_command(domain.0)], "device invalidation")
    }

    /// Makes the unit forget everything.
    pub(super) fn forget_all(&self) -> Result<(), UnitError> {
        let what = "global invalidation";
        if self.registers.features().iasup() {
            return self.submit(&[InvalidateAll::new().to_words()], what);
        }
        // One by one, for every device and every domain there can be: entries first.
        for first in (0..MAX_ENTRIES).step_by(MAX_BATCH) {
            let batch = core::array::from_fn::<_, MAX_BATCH, _>(|n| {
                entry_command((first + n as u64) as u16)
            });
            self.submit(&batch, what)?;
        }
        for first in (0..DOMAIN_IDS).step_by(MAX_BATCH) {
            let batch = core::array::from_fn::<_, MAX_BATCH, _>(|n| {
                domain_command((first + n as u32) as u16)
            });
            self.submit(&batch, what)?;
        }
        Ok(())
    }

    /// The commands that make the unit forget `change` of `domain`.
    pub(super) fn page_invalidations(&self, domain: DomainId, change: Change) -> Batch {
        let base = InvalidatePages::new()
            .with_domainid(domain.0)
            .with_pde(change.tables == TableChange::Unlinked);
        let mut batch = Batch::new();
        let mut page = change.range.start().as_u64() >> FRAME_SIZE_LOG2;
        let end = (change.range.last().as_u64() >> FRAME_SIZE_LOG2) + 1;
        while page < end {
            // The largest aligned block that starts here and stays inside: a leaf inside the range is then
            // inside one block.
            let pages_log2 = page.trailing_zeros().min((end - page).ilog2());
            let range = PageRange::Block {
                start: page << FRAME_SIZE_LOG2,
                len_log2: (FRAME_SIZE_LOG2 + pages_log2) as u8,
            };
            if !batch.push(base.with_range(range).to_words()) {
                return Batch::one(domain_command(domain.0));
            }
            page += 1 << pages_log2;
        }
        batch
    }
}

fn entry_command(device: u16) -> Command {
    InvalidateDeviceEntry::new()
        .with_deviceid(device)
        .to_words()
}

fn domain_command(domain: u16) -> Command {
    InvalidatePages::new()
        .with_domainid(domain)
        .with_pde(true)
        .with_range(PageRange::All)
        .to_words()
}

//! What a change makes the unit forget (48882 2.4), in as few commands as name no more than they must.

use hw::amd::command::{InvalidateAll, InvalidateDeviceEntry, InvalidatePages, PageRange};
use hw::amd::device_table::MAX_ENTRIES;

use super::AmdUnit;
use crate::addr::FRAME_SIZE_LOG2;
use crate::iommu::command_ring::{Command, Commands, MAX_BATCH};
use crate::iommu::cover::{Block, named};
use crate::iommu::unit::{Change, DomainId, UnitError};
use crate::pagetable::TableChange;
use crate::platform::Platform;

/// Domain ids there are: the cached translations of each can be asked to be forgotten.
pub(super) const DOMAIN_IDS: u32 = 1 << 16;

/// Pages of the largest block that a command can name (2.4.3), base-2 logarithm.
const MAX_PAGES_LOG2: u32 = 51 - FRAME_SIZE_LOG2;

impl<P: Platform> AmdUnit<P> {
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

    /// What makes the unit forget `change` of `domain`.
    #[inline]
    pub(super) fn page_invalidations(&self, domain: DomainId, change: Change) -> Commands {
        let pde = change.tables == TableChange::Unlinked;
        let one = move |block: Block| {
            let range = PageRange::Block {
                start: block.start,
                len_log2: (FRAME_SIZE_LOG2 + block.pages_log2) as u8,
            };
            InvalidatePages::words(domain.0, pde, range)
        };
        let whole = || domain_command(domain.0);
        named(change.range, MAX_PAGES_LOG2, one, whole)
    }
}

fn entry_command(device: u16) -> Command {
    InvalidateDeviceEntry::new()
        .with_deviceid(device)
        .to_words()
}

fn domain_command(domain: u16) -> Command {
    InvalidatePages::words(domain, true, PageRange::All)
}

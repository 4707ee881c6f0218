//! What a change makes the unit forget (3.1), in as few commands as name no more than it must.

use hw::riscv::command::{DirectoryInvalidation, Fence, TableInvalidation};

use super::{RiscvUnit, has_first_stage};
use crate::iommu::command_ring::{Batch, MAX_BATCH};
use crate::iommu::cover::{Block, Cover};
use crate::iommu::unit::{Change, DomainId, UnitError};
use crate::pagetable::TableChange;
use crate::platform::Platform;
use crate::system::Stage;

/// Pages of the largest range an invalidation can name, base-2 logarithm (8.3).
const MAX_RANGE_LOG2: u32 = 51;

impl<P: Platform> RiscvUnit<P> {
    /// Everything that is cached of `domain`.
    fn whole(&self, domain: DomainId) -> TableInvalidation {
        match self.stage {
            Stage::First => TableInvalidation::vma()
                .with_pscv(true)
                .with_pscid(domain.0.into()),
            Stage::Second => TableInvalidation::gvma().with_gv(true).with_gscid(domain.0),
        }
    }

    /// The commands that drop what is cached of `domain` in `change`.
    pub(super) fn page_invalidations(&self, domain: DomainId, change: Change) -> Batch {
        let capabilities = self.registers.capabilities();
        let whole = Batch::one(self.whole(domain).to_words());
        // An address names leaves alone (3.1.1), what leads there only with the extension (8.2).
        let unlinked = change.tables == TableChange::Unlinked;
        if unlinked && !capabilities.nl() {
            return whole;
        }
        let base = self.whole(domain).with_av(true).with_nl(unlinked);
        // Page by page, as some units cache pieces of large pages; or by ranges, where they can be named.
        let largest_log2 = match capabilities.s() {
            true => MAX_RANGE_LOG2,
            false => 0,
        };
        let one = |block: Block| match block.pages_log2 {
            0 => base.with_addr(block.start).to_words(),
            pages_log2 => base.with_range(block.start, pages_log2).to_words(),
        };
        match Cover::new(change.range, largest_log2, MAX_BATCH) {
            Some(cover) => cover.map(one).collect(),
            None => whole,
        }
    }

    /// Drops what is cached of a device's context and of the domains it was in (6.3.1).
    pub(super) fn forget_device(
        &self,
        stream: u32,
        domains: [Option<DomainId>; 2],
    ) -> Result<(), UnitError> {
        let context = DirectoryInvalidation::ddt().with_dv(true).with_did(stream);
        let mut batch = Batch::one(context.to_words());
        // Commands may be carried out in any order up to a fence (3.1.2): a translation made by way of the old context
        // after those of its domain were dropped would stay.
        batch.push(Fence::new().to_words());
        for domain in domains.into_iter().flatten() {
            if self.stage == Stage::Second && has_first_stage(self.registers.capabilities()) {
                let nested = TableInvalidation::vma().with_gv(true).with_gscid(domain.0);
                batch.push(nested.to_words());
            }
            batch.push(self.whole(domain).to_words());
        }
        self.running
            .queue
            .submit(&self.registers, batch.as_slice(), "device invalidation")
    }
}

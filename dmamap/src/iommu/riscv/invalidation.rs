//! What a change makes the unit forget (3.1), in as few commands as name no more than it must.

use hw::riscv::command::{DirectoryInvalidation, Fence, TableInvalidation};

use super::{RiscvUnit, has_first_stage};
use crate::addr::FRAME_SIZE_LOG2;
use crate::iommu::command_ring::Batch;
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
        let mut batch = Batch::new();
        let mut page = change.range.start().as_u64() >> FRAME_SIZE_LOG2;
        let end = (change.range.last().as_u64() >> FRAME_SIZE_LOG2) + 1;
        while page < end {
            // Page by page, as some units cache pieces of large pages; where a range can be named, the largest aligned
            // one that starts here and stays inside.
            let block = match capabilities.s() {
                true => page
                    .trailing_zeros()
                    .min((end - page).ilog2())
                    .min(MAX_RANGE_LOG2),
                false => 0,
            };
            let bus = page << FRAME_SIZE_LOG2;
            let command = match block {
                0 => base.with_addr(bus),
                _ => base.with_range(bus, block),
            };
            if !batch.push(command.to_words()) {
                return whole;
            }
            page += 1 << block;
        }
        batch
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

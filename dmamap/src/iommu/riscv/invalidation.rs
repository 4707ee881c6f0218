//! What a change makes the unit forget (3.1), in as few commands as name no more than it must.

use hw::riscv::command::{DirectoryInvalidation, Fence, TableInvalidation};

use super::{RiscvUnit, has_first_stage};
use crate::iommu::command_ring::{Batch, Command, Commands};
use crate::iommu::cover::{Block, named};
use crate::iommu::unit::{Change, DomainId, UnitError};
use crate::pagetable::TableChange;
use crate::platform::Platform;
use crate::system::Stage;

/// Pages of the largest range an invalidation can name, base-2 logarithm (8.3).
const MAX_RANGE_LOG2: u32 = 51;

impl<P: Platform> RiscvUnit<P> {
    /// Everything that is cached of `domain`.
    fn whole(&self, domain: DomainId) -> Command {
        match self.stage {
            Stage::First => TableInvalidation::pscid_words(domain.0.into()),
            Stage::Second => TableInvalidation::gscid_words(domain.0),
        }
    }

    /// What drops all that is cached of `domain` in `change`.
    #[inline]
    pub(super) fn page_invalidations(&self, domain: DomainId, change: Change) -> Commands {
        let capabilities = self.registers.capabilities();
        let whole = || self.whole(domain);
        // An address names leaves alone (3.1.1), what leads there only with the extension (8.2).
        let unlinked = change.tables == TableChange::Unlinked;
        if unlinked && !capabilities.nl() {
            return Commands::One(whole());
        }
        // Page by page, as some units cache pieces of large pages; or by ranges, where they can be named.
        let largest_log2 = match capabilities.s() {
            true => MAX_RANGE_LOG2,
            false => 0,
        };
        let [low, high] = self.whole(domain);
        let one = move |block: Block| {
            let bits = TableInvalidation::page_bits(unlinked, block.start, block.pages_log2);
            [low | bits[0], high | bits[1]]
        };
        named(change.range, largest_log2, one, whole)
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
            batch.push(self.whole(domain));
        }
        self.running
            .queue
            .submit(&self.registers, batch.as_slice(), "device invalidation")
    }
}

//! What is invalidated after a change, as descriptors of the queue (VT-d 6.5.2, 6.5.3).
//!
//! What leads to translations goes before them: a translation that was made from a stale context or PASID-table entry
//! after translations were dropped would stay.

use hw::vtd::invalidation::{
    ContextCache, Iotlb, PasidCache, PasidCacheGranularity, PasidIotlb, PasidIotlbGranularity,
    page_bits,
};
use hw::vtd::regs::{Cap, ContextGranularity, FunctionMask, IotlbGranularity};

use super::mode::Mode;
use super::pasid_table::PASID;
use crate::iommu::command_ring::{Batch, Command, Commands};
use crate::iommu::cover::{Block, named};
use crate::iommu::unit::{Change, DomainId};
use crate::pagetable::TableChange;
use crate::system::Stage;

/// Everything: after a new root table.
pub(super) fn everything(mode: Mode, cap: Cap) -> Batch {
    let contexts = ContextCache::new().with_g(ContextGranularity::Global);
    let pasids = PasidCache::new().with_g(PasidCacheGranularity::Global);
    let translations = iotlb(cap).with_g(IotlbGranularity::Global);
    let mut batch = Batch::one(contexts.to_words());
    if matches!(mode, Mode::Scalable(_)) {
        batch.push(pasids.to_words());
    }
    batch.push(translations.to_words());
    batch
}

/// What is cached of `requester` and of its domain: after its entries changed.
pub(super) fn device(mode: Mode, cap: Cap, requester: u16, domain: DomainId) -> Batch {
    let context = ContextCache::new()
        .with_g(ContextGranularity::Device)
        .with_did(domain.0)
        .with_sid(requester)
        .with_fm(FunctionMask::None);
    let mut batch = Batch::one(context.to_words());
    if matches!(mode, Mode::Scalable(_)) {
        let pasid = PasidCache::new()
            .with_g(PasidCacheGranularity::Pasid)
            .with_did(domain.0)
            .with_pasid(PASID);
        batch.push(pasid.to_words());
        // It may have been translated by a first-stage table, or by another one or none.
        batch.push(one_pasid(domain));
    }
    batch.push(one_domain(cap, domain));
    batch
}

/// How a unit is told of pages: what of it is the same each time.
pub(super) struct Pages {
    /// One about pages, without saying which.
    page: Command,
    /// The largest blocks it knows; `None` where it knows domains alone.
    largest_log2: Option<u32>,
    mode: Mode,
    cap: Cap,
}

impl Pages {
    pub(super) fn new(mode: Mode, cap: Cap) -> Self {
        let page = match mode {
            Mode::Scalable(Stage::First) => PasidIotlb::new()
                .with_g(PasidIotlbGranularity::Page)
                .with_pasid(PASID)
                .to_words(),
            Mode::Legacy | Mode::Scalable(Stage::Second) => {
                iotlb(cap).with_g(IotlbGranularity::Page).to_words()
            }
        };
        Self {
            page,
            largest_log2: cap.psi().then_some(cap.mamv().into()),
            mode,
            cap,
        }
    }

    /// What names all that is cached of `change` in `domain`.
    #[inline]
    pub(super) fn of(&self, domain: DomainId, change: Change) -> Commands {
        let hint = change.tables == TableChange::Kept;
        let [low, high] = self.page;
        let one = move |block: Block| {
            let bits = page_bits(domain.0, block.pages_log2 as u8, hint, block.start);
            [low | bits[0], high | bits[1]]
        };
        let whole = || match self.mode {
            Mode::Scalable(Stage::First) => one_pasid(domain),
            Mode::Legacy | Mode::Scalable(Stage::Second) => one_domain(self.cap, domain),
        };
        match self.largest_log2 {
            Some(largest_log2) => named(change.range, largest_log2, one, whole),
            None => Commands::One(whole()),
        }
    }
}

/// All translations of a domain, of whatever stage.
fn one_domain(cap: Cap, domain: DomainId) -> Command {
    iotlb(cap)
        .with_g(IotlbGranularity::Domain)
        .with_did(domain.0)
        .to_words()
}

/// All first-stage translations of a domain.
fn one_pasid(domain: DomainId) -> Command {
    PasidIotlb::new()
        .with_g(PasidIotlbGranularity::Pasid)
        .with_did(domain.0)
        .with_pasid(PASID)
        .to_words()
}

/// Drains what it can; the PASID-based form always does (6.5.2.4).
fn iotlb(cap: Cap) -> Iotlb {
    Iotlb::new().with_dr(cap.drd()).with_dw(cap.dwd())
}

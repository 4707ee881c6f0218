//! What is invalidated after a change, as descriptors of the queue (VT-d 6.5.2, 6.5.3).
//!
//! What leads to translations goes before them: a translation that was made from a stale context or PASID-table entry
//! after translations were dropped would stay.

use hw::vtd::invalidation::{
    ContextCache, Iotlb, PasidCache, PasidCacheGranularity, PasidIotlb, PasidIotlbGranularity,
};
use hw::vtd::regs::{Cap, ContextGranularity, FunctionMask, IotlbGranularity};

use super::mode::Mode;
use super::pasid_table::PASID;
use crate::iommu::command_ring::{Batch, Command, MAX_BATCH};
use crate::iommu::cover::{Block, Cover};
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

/// What is cached of `change` in `domain`.
pub(super) fn pages(mode: Mode, cap: Cap, domain: DomainId, change: Change) -> Batch {
    let hint = change.tables == TableChange::Kept;
    let first_stage = mode == Mode::Scalable(Stage::First);
    let one = |block: Block| -> Command {
        let (am, addr) = (block.pages_log2 as u8, block.start);
        if first_stage {
            PasidIotlb::new()
                .with_g(PasidIotlbGranularity::Page)
                .with_did(domain.0)
                .with_pasid(PASID)
                .with_am(am)
                .with_ih(hint)
                .with_addr(addr)
                .to_words()
        } else {
            iotlb(cap)
                .with_g(IotlbGranularity::Page)
                .with_did(domain.0)
                .with_am(am)
                .with_ih(hint)
                .with_addr(addr)
                .to_words()
        }
    };
    let whole = || {
        Batch::one(if first_stage {
            one_pasid(domain)
        } else {
            one_domain(cap, domain)
        })
    };
    if !cap.psi() {
        return whole();
    }
    match Cover::new(change.range, cap.mamv().into(), MAX_BATCH) {
        Some(cover) => cover.map(one).collect(),
        None => whole(),
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

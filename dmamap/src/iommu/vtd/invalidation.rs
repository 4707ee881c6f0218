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
use crate::addr::FRAME_SIZE_LOG2;
use crate::iommu::command_ring::{Batch, Command};
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
    let block_of = |page: u64, size_log2: u32| -> Command {
        let (am, addr) = (size_log2 as u8, page << FRAME_SIZE_LOG2);
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
    let mut batch = Batch::new();
    let mut page = change.range.start().as_u64() >> FRAME_SIZE_LOG2;
    let end = (change.range.last().as_u64() >> FRAME_SIZE_LOG2) + 1;
    while page < end {
        // The largest aligned block that starts here and stays inside: a leaf inside the range is then
        // inside one block, as 6.5.2.3 asks of invalidations of large pages.
        let block = page
            .trailing_zeros()
            .min((end - page).ilog2())
            .min(cap.mamv().into());
        if !batch.push(block_of(page, block)) {
            return whole();
        }
        page += 1 << block;
    }
    batch
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

//! What an invalidation asks for, whether it came by register or by descriptor.

use hw::vtd::invalidation::{
    ContextCache, Iotlb, PasidCache, PasidCacheGranularity, PasidIotlb, PasidIotlbGranularity,
};
use hw::vtd::regs::{
    Cap, ContextCommand, ContextGranularity, FunctionMask, InvalidateAddress, IotlbGranularity,
    IotlbInvalidate,
};

use super::cache::{ContextSelection, PasidSelection, TranslationSelection};
use crate::iommu::translation_cache::{Extent, Tables};

/// An IOTLB invalidation: what goes, and which requests in flight are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TranslationRequest {
    pub(super) selection: TranslationSelection,
    pub(super) drain_reads: bool,
    pub(super) drain_writes: bool,
}

/// An invalidation that the unit cannot carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the granularity is reserved")]
    Granularity,
    #[error("domain id {0:#x} has more bits than the unit's domain ids")]
    DomainId(u16),
    #[error("the unit has no page-selective invalidation")]
    PageSelective,
    #[error("address mask {0} is larger than the unit's {1}")]
    AddressMask(u8, u8),
}

fn check_domain(cap: Cap, did: u16) -> Result<u16, Refused> {
    if u32::from(did) >> cap.domain_id_bits() != 0 {
        return Err(Refused::DomainId(did));
    }
    Ok(did)
}

fn contexts(
    cap: Cap,
    granularity: ContextGranularity,
    did: u16,
    sid: u16,
    mask: FunctionMask,
) -> Result<ContextSelection, Refused> {
    Ok(match granularity {
        ContextGranularity::Reserved => return Err(Refused::Granularity),
        ContextGranularity::Global => ContextSelection::Global,
        ContextGranularity::Domain => ContextSelection::Domain(check_domain(cap, did)?),
        ContextGranularity::Device => {
            let ignored = match mask {
                FunctionMask::None => 0,
                FunctionMask::Bit2 => 0b100,
                FunctionMask::Bits21 => 0b110,
                FunctionMask::Bits210 => 0b111,
            };
            ContextSelection::Device {
                did: check_domain(cap, did)?,
                sid,
                ignored,
            }
        }
    })
}

fn translations(
    cap: Cap,
    granularity: IotlbGranularity,
    did: u16,
    pages: InvalidateAddress,
) -> Result<TranslationSelection, Refused> {
    Ok(match granularity {
        IotlbGranularity::Reserved => return Err(Refused::Granularity),
        IotlbGranularity::Global => TranslationSelection::Global,
        IotlbGranularity::Domain => TranslationSelection::Domain(check_domain(cap, did)?),
        IotlbGranularity::Page => {
            if !cap.psi() {
                return Err(Refused::PageSelective);
            }
            TranslationSelection::Pages {
                did: check_domain(cap, did)?,
                extent: extent(cap, pages)?,
            }
        }
    })
}

fn extent(cap: Cap, pages: InvalidateAddress) -> Result<Extent, Refused> {
    if pages.am() > cap.mamv() {
        return Err(Refused::AddressMask(pages.am(), cap.mamv()));
    }
    // The low bits of the page number that the mask covers are not looked at.
    let rest = 1_u64
        .checked_shl(12 + u32::from(pages.am()))
        .map_or(!0, |bytes| bytes - 1);
    let first = pages.addr() & !rest;
    Ok(Extent::Pages {
        first,
        last: first | rest,
        tables: if pages.ih() {
            Tables::Keep
        } else {
            Tables::Invalidate
        },
    })
}

pub(super) fn pasids_by_descriptor(
    cap: Cap,
    descriptor: PasidCache,
) -> Result<PasidSelection, Refused> {
    let did = descriptor.did();
    Ok(match descriptor.g() {
        PasidCacheGranularity::Reserved => return Err(Refused::Granularity),
        PasidCacheGranularity::Global => PasidSelection::Global,
        PasidCacheGranularity::Domain => PasidSelection::Domain(check_domain(cap, did)?),
        PasidCacheGranularity::Pasid => PasidSelection::Pasid {
            did: check_domain(cap, did)?,
            pasid: descriptor.pasid(),
        },
    })
}

/// Reads and writes are drained without being asked for.
pub(super) fn pasid_translations_by_descriptor(
    cap: Cap,
    descriptor: PasidIotlb,
) -> Result<TranslationRequest, Refused> {
    let pages = InvalidateAddress::new()
        .with_addr(descriptor.addr())
        .with_am(descriptor.am())
        .with_ih(descriptor.ih());
    let extent = match descriptor.g() {
        PasidIotlbGranularity::Reserved => return Err(Refused::Granularity),
        PasidIotlbGranularity::Pasid => Extent::All,
        PasidIotlbGranularity::Page => extent(cap, pages)?,
    };
    Ok(TranslationRequest {
        selection: TranslationSelection::Pasid {
            did: check_domain(cap, descriptor.did())?,
            pasid: descriptor.pasid(),
            extent,
        },
        drain_reads: true,
        drain_writes: true,
    })
}

pub(super) fn contexts_by_descriptor(
    cap: Cap,
    descriptor: ContextCache,
) -> Result<ContextSelection, Refused> {
    contexts(
        cap,
        descriptor.g(),
        descriptor.did(),
        descriptor.sid(),
        descriptor.fm(),
    )
}

pub(super) fn contexts_by_register(
    cap: Cap,
    register: ContextCommand,
) -> Result<ContextSelection, Refused> {
    contexts(
        cap,
        register.cirg(),
        register.did(),
        register.sid(),
        register.fm(),
    )
}

pub(super) fn translations_by_descriptor(
    cap: Cap,
    descriptor: Iotlb,
) -> Result<TranslationRequest, Refused> {
    let pages = InvalidateAddress::new()
        .with_addr(descriptor.addr())
        .with_am(descriptor.am())
        .with_ih(descriptor.ih());
    Ok(TranslationRequest {
        selection: translations(cap, descriptor.g(), descriptor.did(), pages)?,
        drain_reads: descriptor.dr(),
        drain_writes: descriptor.dw(),
    })
}

pub(super) fn translations_by_register(
    cap: Cap,
    register: IotlbInvalidate,
    pages: InvalidateAddress,
) -> Result<TranslationRequest, Refused> {
    Ok(TranslationRequest {
        selection: translations(cap, register.iirg(), register.did(), pages)?,
        drain_reads: register.dr(),
        drain_writes: register.dw(),
    })
}

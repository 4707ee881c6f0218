//! Addresses that firmware reserved, and for whom.

use alloc::vec::Vec;

use firmware::{DirectAccess, IommuDescription, ReservedKind};

use crate::addr::{AddrError, BusAddr, BusRange, PhysAddr, PhysRange};
use crate::iommu::{Requester, requesters_of};
use crate::map::Permission;
use crate::pci::Topology;
use crate::platform::Platform;

/// Addresses reserved for one device.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReservedFor {
    pub(super) device: Requester,
    pub(super) what: Reserved,
}

/// What is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// Memory the device goes on using, at equal bus addresses.
    Direct(PhysRange, Permission),
    /// Bus addresses at which nothing may be mapped.
    Unmappable(BusRange),
}

impl ReservedFor {
    /// Resolves firmware's regions on the machine as it was enumerated.
    pub(super) fn all<P: Platform>(
        description: &IommuDescription,
        topology: &Topology<P>,
    ) -> Result<Vec<Self>, AddrError> {
        let mut all = Vec::new();
        for region in &description.reserved {
            let len_bytes = region.last.wrapping_sub(region.base).saturating_add(1);
            let memory = || PhysRange::new(PhysAddr::new(region.base), len_bytes);
            let what = match region.kind {
                ReservedKind::Direct(access) => Reserved::Direct(
                    memory()?,
                    match access {
                        DirectAccess::Read => Permission::Read,
                        DirectAccess::Write => Permission::Write,
                        DirectAccess::ReadWrite => Permission::ReadWrite,
                    },
                ),
                // A table that maps them at equal addresses lets them through as well, and no register that
                // holds a single range is needed.
                ReservedKind::Untranslated => Reserved::Direct(memory()?, Permission::ReadWrite),
                ReservedKind::Unmappable => {
                    Reserved::Unmappable(BusRange::new(BusAddr::new(region.base), len_bytes)?)
                }
            };
            let devices = requesters_of(&region.devices, topology);
            all.extend(devices.into_iter().map(|device| Self { device, what }));
        }
        Ok(all)
    }
}

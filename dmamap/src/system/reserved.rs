//! Addresses that firmware reserved, and for whom.

use alloc::vec::Vec;

use firmware::{DirectAccess, IommuDescription, ReservedKind};

use super::DmaSystem;
use super::new_domain::merged;
use super::occupancy::GroupKey;
use crate::addr::{AddrError, BusAddr, BusRange, PhysAddr, PhysRange};
use crate::bridge::WindowKind;
use crate::iommu::{MessageRoute, Requester, Unit, UnitError, requesters_of};
use crate::map::Permission;
use crate::pci::Topology;
use crate::platform::Platform;

/// Bus addresses of a device that no mapping is ever given (`/sys/kernel/iommu_groups/N/reserved_regions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// The addresses.
    pub range: BusRange,
    /// What is there.
    pub kind: RegionKind,
}

/// What is at reserved bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Memory, or interrupt doorbells, that the device reaches at equal addresses as long as it is attached.
    Direct(Permission),
    /// Something that its IOMMU unit does not translate, or a window of the host bridge: nothing is ever mapped.
    Unmappable,
}

/// Addresses firmware reserved for one device.
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

impl<P: Platform> DmaSystem<P> {
    /// The bus addresses of `device` that no mapping is ever given, and why: what firmware reserved for it or another of
    /// its group, its unit's message window, the host bridge's windows. Empty where no unit translates for it.
    ///
    /// # Errors
    /// [`UnitError`] where the unit must be asked (virtio) and does not answer.
    pub fn reserved_regions(&self, device: Requester) -> Result<Vec<ReservedRegion>, UnitError> {
        let Some(behind) = self.behind(device) else {
            return Ok(Vec::new());
        };
        let units = self.units();
        let Some(unit) = units.get(behind.unit) else {
            // They were stopped in between.
            return Ok(Vec::new());
        };
        let windows = self
            .bridges
            .iter()
            .filter(|bridge| bridge.segment() == device.segment)
            .flat_map(|bridge| bridge.windows())
            .filter(|window| window.kind != WindowKind::Io)
            .map(|window| window.bus);
        let special = self.special_to_group(device, &**unit, behind.unit)?;
        let doorbells = match unit.facts().messages {
            MessageRoute::Aside => None,
            MessageRoute::Translated => self.platform.message_window(),
        };
        // A unit that says of one device that these addresses are special (virtio) takes its messages aside.
        let doorbells = doorbells.filter(|doorbells| {
            let start = BusAddr::new(doorbells.start().as_u64());
            let bus = BusRange::new(start, doorbells.len_bytes());
            bus.is_ok_and(|bus| !special.iter().any(|range| range.overlaps(bus)))
        });
        let unmappable = special
            .into_iter()
            .chain(self.unmappable_of(device))
            .chain(windows)
            .map(|range| ReservedRegion {
                range,
                kind: RegionKind::Unmappable,
            });
        let doorbells = doorbells.map(|doorbells| (doorbells, Permission::Write));
        let direct = merged(self.direct_of(device).into_iter().chain(doorbells))
            .into_iter()
            .filter_map(|(memory, permission)| {
                let start = BusAddr::new(memory.start().as_u64());
                Some(ReservedRegion {
                    range: BusRange::new(start, memory.len_bytes()).ok()?,
                    kind: RegionKind::Direct(permission),
                })
            });
        Ok(unmappable.chain(direct).collect())
    }

    /// What `unit` does not translate for `device` and others of its group, who share its domain.
    fn special_to_group(
        &self,
        device: Requester,
        unit: &dyn Unit<P>,
        number: usize,
    ) -> Result<Vec<BusRange>, UnitError> {
        let mut special = Vec::new();
        let mut answered = false;
        let mut refused = Ok(());
        for member in self.fellows_of(device) {
            for stream in self.attachments(member, number).unwrap_or_default() {
                match unit.unmappable(stream) {
                    Ok(ranges) => {
                        answered = true;
                        for range in ranges {
                            if !special.contains(&range) {
                                special.push(range);
                            }
                        }
                    }
                    // It need not know each name that a device could speak in.
                    Err(error @ UnitError::Refused { .. }) => refused = Err(error),
                    Err(error) => return Err(error),
                }
            }
        }
        if answered {
            Ok(special)
        } else {
            refused.map(|()| special)
        }
    }

    /// The devices of the group of `device`.
    fn fellows_of(&self, device: Requester) -> Vec<Requester> {
        let state = self.state.lock();
        match state.key_of(device) {
            GroupKey::Group(group) => state.groups.own_ids(group),
            GroupKey::Stream(_) | GroupKey::Alone(_) => [device].into(),
        }
    }
}

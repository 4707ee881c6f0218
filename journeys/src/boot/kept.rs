//! The devices that firmware keeps at work, which enumeration must not stop.

use alloc::vec::Vec;

use dmamap::pci::{DevicePath, PciAddress};
use firmware::{Devices, IommuDescription, ReservedKind, ReservedRegion};

/// A device firmware keeps at work, which enumeration must not stop.
pub(super) struct KeptDevice {
    segment: u16,
    start_bus: u8,
    path: Vec<(u8, u8)>,
}

impl KeptDevice {
    pub(super) fn path(&self) -> DevicePath<'_> {
        DevicePath {
            segment: self.segment,
            start_bus: self.start_bus,
            path: &self.path,
        }
    }
}

/// The devices that firmware left memory to.
pub(super) fn kept_devices(iommus: &IommuDescription) -> Vec<KeptDevice> {
    let mut kept = Vec::new();
    let direct = |region: &&ReservedRegion| matches!(region.kind, ReservedKind::Direct(_));
    for region in iommus.reserved.iter().filter(direct) {
        match &region.devices {
            Devices::Scope { segment, scope } => kept.push(KeptDevice {
                segment: *segment,
                start_bus: scope.start_bus,
                path: scope.path.clone(),
            }),
            // One device; a region for many is not about one that is at work.
            Devices::Requesters {
                segment,
                first,
                last,
            } if first == last => {
                let address = PciAddress::from_requester(*segment, *first);
                kept.push(KeptDevice {
                    segment: *segment,
                    start_bus: address.bus,
                    path: [(address.device, address.function)].into(),
                });
            }
            Devices::Requesters { .. } | Devices::Segment { .. } | Devices::Named(_) => {}
        }
    }
    kept
}

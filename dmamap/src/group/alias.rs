//! Under which ids a function's requests may arrive at an IOMMU.
//!
//! A bridge from PCI Express to a conventional bus makes the requests of what is behind it in a name of its own (PCI
//! Express to PCI/PCI-X Bridge specification 2.3); transactions of PCI-X carry their own id through some of them. So a
//! function has several ids, and may use any.

use alloc::vec::Vec;

use hw::pci::requester_id;

use super::quirk::{Behaviour, Quirks};
use crate::iommu::Requester;
use crate::pci::{Function, PortType};
use crate::platform::Platform;

/// The ids that requests of `function` may carry where they meet an IOMMU, its own first, none twice.
pub(crate) fn ids_of<P: Platform>(function: &Function<P>, quirks: &Quirks) -> Vec<Requester> {
    let address = function.address();
    let mut ids = alloc::vec![function.requester()];
    for behaviour in quirks.of(function.vendor(), function.device()) {
        let (device, number) = match behaviour {
            Behaviour::RequestsAsFunction(number) => (address.device, number),
            Behaviour::RequestsAsDevice { device, function } => (device, function),
            Behaviour::Isolates | Behaviour::BridgesFromExpress => continue,
        };
        ids.push(requester_id(address.bus, device & 0x1f, number & 7));
    }
    ids.extend(
        function
            .path()
            .filter_map(|bridge| taken_by(bridge, quirks)),
    );
    let mut known = Vec::with_capacity(ids.len());
    for id in ids {
        let requester = Requester {
            segment: address.segment,
            id,
        };
        if !known.contains(&requester) {
            known.push(requester);
        }
    }
    known
}

/// The id in which `bridge` makes requests of what is behind it, if it does.
fn taken_by<P: Platform>(bridge: &Function<P>, quirks: &Quirks) -> Option<u16> {
    let behind = || Some(requester_id(bridge.buses()?.secondary, 0, 0));
    match bridge.port_type() {
        // Packets pass as they are.
        Some(PortType::RootPort | PortType::UpstreamPort | PortType::DownstreamPort) => None,
        Some(PortType::PcieToPciBridge) => behind(),
        None if bridges_from_express(bridge, quirks) => behind(),
        // Conventional on the side of the root: there it masters transactions as itself.
        _ => Some(bridge.requester()),
    }
}

fn bridges_from_express<P: Platform>(bridge: &Function<P>, quirks: &Quirks) -> bool {
    let mut behaviours = quirks.of(bridge.vendor(), bridge.device());
    behaviours.any(|behaviour| behaviour == Behaviour::BridgesFromExpress)
}

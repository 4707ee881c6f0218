//! Whether one device reaches the registers of another, and which way.

use core::fmt;

use super::DmaSystem;
use super::attach::requester_of;
use crate::bridge::PeerForwarding;
use crate::group::Acs;
use crate::pci::{Function, PciAddress, PortType};
use crate::platform::Platform;

/// Which way requests of one device to the registers of another take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerVerdict {
    /// Below one switch, or on one conventional bus, or inside one device: at the bus address (A) of the registers. No IOMMU
    /// sees the request.
    Direct,
    /// Up to the host bridge, past the IOMMU where there is one, and down again.
    ThroughHostBridge,
    /// They are not known to arrive.
    Refused(PeerRefusal),
}

/// Why requests of one device to another are not known to arrive (Linux: `EREMOTEIO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRefusal {
    /// They have to pass a host bridge of which nobody said what it does with them.
    HostBridgeUnknown,
    /// The devices are behind different host bridges.
    DifferentHostBridges {
        /// The one whose registers were to be reached.
        peer: PciAddress,
    },
    /// The devices are of different machines.
    DifferentMachines {
        /// The one whose registers were to be reached.
        peer: PciAddress,
    },
    /// The device is let through to memory by an IOMMU whose tables hold memory alone.
    Identity,
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostBridgeUnknown => f.write_str(
                "requests would have to pass a host bridge that is not known to forward them",
            ),
            Self::DifferentHostBridges { peer } => {
                write!(f, "{peer} is behind another host bridge")
            }
            Self::DifferentMachines { peer } => {
                write!(f, "{peer} is a device of another machine")
            }
            Self::Identity => f.write_str("the device is attached so that it reaches memory alone"),
        }
    }
}

impl<P: Platform> DmaSystem<P> {
    /// Which way requests of `from` to registers of `to` take, as the ports between them are set now.
    ///
    /// ```
    /// # use board as _;
    /// use dmamap::pci::Function;
    /// use dmamap::platform::Platform;
    /// use dmamap::system::{DmaSystem, PeerVerdict};
    ///
    /// fn can_write_to<P: Platform>(
    ///     system: &DmaSystem<P>,
    ///     from: &Function<P>,
    ///     to: &Function<P>,
    /// ) -> bool {
    ///     !matches!(system.peer_to_peer(from, to), PeerVerdict::Refused(_))
    /// }
    /// ```
    pub fn peer_to_peer(&self, from: &Function<P>, to: &Function<P>) -> PeerVerdict {
        let machine = self.platform.machine();
        if [from, to].map(|function| function.platform().machine()) != [machine; 2] {
            let peer = to.address();
            return PeerVerdict::Refused(PeerRefusal::DifferentMachines { peer });
        }
        if meet_below(from, to) {
            return PeerVerdict::Direct;
        }
        let bridge_of = |function| self.bridge_of(requester_of(function));
        match (bridge_of(from), bridge_of(to)) {
            (Some(one), Some(other)) if core::ptr::eq(one, other) => match one.peer_forwarding() {
                PeerForwarding::Forwarded => PeerVerdict::ThroughHostBridge,
                PeerForwarding::Unknown => PeerVerdict::Refused(PeerRefusal::HostBridgeUnknown),
            },
            _ => {
                let peer = to.address();
                PeerVerdict::Refused(PeerRefusal::DifferentHostBridges { peer })
            }
        }
    }
}

/// Whether a request of `from` arrives at `to` before it is at the root.
fn meet_below<P: Platform>(from: &Function<P>, to: &Function<P>) -> bool {
    let (one, other) = (from.address(), to.address());
    if one == other {
        return false;
    }
    let above = |function: &Function<P>, bridge: &Function<P>| {
        function
            .path()
            .any(|each| each.address() == bridge.address())
    };
    let Some(meeting) = from.path().find(|bridge| above(to, bridge)) else {
        return false;
    };
    let is_one_device = (one.bus, one.device) == (other.bus, other.device);
    // At the end of a link there is one device; in a switch and on a conventional bus there are many.
    let is_link = meeting
        .port_type()
        .is_some_and(|port| matches!(port, PortType::RootPort | PortType::DownstreamPort));
    if is_link && !is_one_device {
        return false;
    }
    let mut ports = [from, to].into_iter().flat_map(|function| {
        let bridges = function.path();
        let below = bridges.take_while(|bridge| bridge.address() != meeting.address());
        let itself = is_one_device.then_some(function);
        below.chain(itself)
    });
    !ports.any(|port| Acs::read(port).is_some_and(Acs::redirects))
}

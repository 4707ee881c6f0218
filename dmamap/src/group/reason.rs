//! Why functions are in one group.

use core::fmt;

use hw::pci::capability::AcsFlags;

use super::acs::Names;
use crate::iommu::Requester;
use crate::pci::PciAddress;

/// Why functions are in one group: a point where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A port does not send the requests of what is below it up to the root complex: they may reach each other, and, where
    /// it is a switch's, all else below the switch.
    Port {
        /// The port.
        port: PciAddress,
        /// The access control services it should do and does not; `None` if it has none at all.
        missing: Option<AcsFlags>,
    },
    /// All below a bridge share a bus on which each sees what the others ask.
    Bus {
        /// The bridge.
        bridge: PciAddress,
    },
    /// Two functions of one device may meet inside it.
    Device {
        /// The one whose requests are not kept from the other.
        one: PciAddress,
        /// The other.
        other: PciAddress,
    },
    /// Requests of both may carry one requester id.
    Id {
        /// The id.
        id: Requester,
        /// One.
        one: PciAddress,
        /// The other.
        other: PciAddress,
    },
    /// Their unit has one name for both.
    Stream {
        /// What it calls them.
        stream: u32,
        /// One.
        one: PciAddress,
        /// The other.
        other: PciAddress,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port {
                port,
                missing: None,
            } => write!(
                f,
                "{port} has no access control services: requests may pass it to a peer"
            ),
            Self::Port {
                port,
                missing: Some(missing),
            } => write!(
                f,
                "{port} does without {}: requests may pass it to a peer",
                Names(*missing)
            ),
            Self::Bus { bridge } => write!(f, "what is behind {bridge} shares a bus"),
            Self::Device { one, other } => write!(
                f,
                "{one} and {other} are functions of one device and may meet inside it"
            ),
            Self::Id { id, one, other } => {
                write!(f, "requests of {one} and {other} may both carry {id}")
            }
            Self::Stream { stream, one, other } => write!(
                f,
                "the IOMMU unit calls both {one} and {other} number {stream:#x}"
            ),
        }
    }
}

//! The two lists of capabilities: walked once, bounded, whatever a device says.

use alloc::vec::Vec;

use hw::pci::capability::{
    AddressLines, EXPRESS_FLAGS, EXTENDED_BASE, ExpressFlags, ExtendedHeader, Header, id, port_type,
};
use hw::pci::config::{CAPABILITIES_POINTER, HEADER_BYTES, STATUS, Status};

use super::Problem;
use super::config::FunctionConfig;
use crate::platform::Platform;

/// What a PCI Express function is to its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortType {
    /// An endpoint, legacy or not.
    Endpoint,
    /// An endpoint inside the root complex.
    IntegratedEndpoint,
    /// A root port.
    RootPort,
    /// The port of a switch towards the root.
    UpstreamPort,
    /// A port of a switch away from the root.
    DownstreamPort,
    /// A bridge from PCI Express to conventional PCI.
    PcieToPciBridge,
    /// A bridge from conventional PCI to PCI Express.
    PciToPcieBridge,
    /// An event collector.
    EventCollector,
    /// A kind that this layer does not know.
    Unknown(u8),
}

impl PortType {
    fn from_flags(flags: ExpressFlags) -> Self {
        match flags.port_type() {
            port_type::ENDPOINT | port_type::LEGACY_ENDPOINT => Self::Endpoint,
            port_type::INTEGRATED_ENDPOINT => Self::IntegratedEndpoint,
            port_type::ROOT_PORT => Self::RootPort,
            port_type::UPSTREAM_PORT => Self::UpstreamPort,
            port_type::DOWNSTREAM_PORT => Self::DownstreamPort,
            port_type::PCIE_TO_PCI_BRIDGE => Self::PcieToPciBridge,
            port_type::PCI_TO_PCIE_BRIDGE => Self::PciToPcieBridge,
            port_type::EVENT_COLLECTOR => Self::EventCollector,
            other => Self::Unknown(other),
        }
    }

    /// Whether a link leads away from the root here: only device 0 can be at its other end.
    pub(crate) fn has_link_below(self) -> bool {
        matches!(
            self,
            Self::RootPort | Self::DownstreamPort | Self::PciToPcieBridge
        )
    }
}

/// Where a function's capabilities lie, and what the ones needed everywhere say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities {
    pub(crate) conventional: Vec<(u8, u16)>,
    pub(crate) extended: Vec<(u16, u16)>,
    pub(crate) port_type: Option<PortType>,
    pub(crate) address_lines: Option<u32>,
}

impl Capabilities {
    /// Reads both lists of a function.
    pub(crate) fn read<P: Platform>(
        config: &FunctionConfig<P>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let conventional = walk_conventional(config, problems);
        // Extended capabilities are PCI Express's: elsewhere their place is not even decoded.
        let express = conventional.iter().find(|(id, _)| *id == id::PCI_EXPRESS);
        let port_type = express.map(|(_, offset)| {
            PortType::from_flags(ExpressFlags::from_bits(config.read(offset + EXPRESS_FLAGS)))
        });
        let extended = port_type
            .map(|_| walk_extended(config, problems))
            .unwrap_or_default();
        let address_lines = conventional
            .iter()
            .filter(|(id, _)| *id == id::VENDOR_SPECIFIC)
            .map(|(_, offset)| AddressLines::from_bits(config.read(*offset)))
            .find(|lines| {
                lines.len_bytes() == AddressLines::BYTES && (1..=64).contains(&lines.bits())
            })
            .map(|lines| u32::from(lines.bits()));
        Self {
            conventional,
            extended,
            port_type,
            address_lines,
        }
    }
}

/// Ends at a loop, and at the latest when every place for a capability was visited once.
fn walk_conventional<P: Platform>(
    config: &FunctionConfig<P>,
    problems: &mut Vec<Problem>,
) -> Vec<(u8, u16)> {
    let address = config.address();
    let mut list = Vec::new();
    if !Status::from_bits(config.read(STATUS)).capabilities_list() {
        return list;
    }
    let mut offset = u16::from(config.read::<u8>(CAPABILITIES_POINTER)) & 0xfc;
    while offset != 0 {
        if offset < HEADER_BYTES {
            problems.push(Problem::CapabilityPointer { address, offset });
            break;
        }
        if list.iter().any(|&(_, earlier)| earlier == offset) {
            problems.push(Problem::CapabilityLoop { address, offset });
            break;
        }
        let bits: u16 = config.read(offset);
        if bits == u16::MAX {
            problems.push(Problem::CapabilityPointer { address, offset });
            break;
        }
        let header = Header::from_bits(bits);
        list.push((header.id(), offset));
        offset = header.next_offset();
    }
    list
}

/// Ends as the other list does.
fn walk_extended<P: Platform>(
    config: &FunctionConfig<P>,
    problems: &mut Vec<Problem>,
) -> Vec<(u16, u16)> {
    let address = config.address();
    let mut list = Vec::new();
    let mut offset = EXTENDED_BASE;
    while offset != 0 {
        if offset < EXTENDED_BASE {
            problems.push(Problem::CapabilityPointer { address, offset });
            break;
        }
        if list.iter().any(|&(_, earlier)| earlier == offset) {
            problems.push(Problem::CapabilityLoop { address, offset });
            break;
        }
        let bits: u32 = config.read(offset);
        match bits {
            // An empty list is a first word of 0; without extended space it is all ones.
            0 | u32::MAX if list.is_empty() => break,
            u32::MAX => {
                problems.push(Problem::CapabilityPointer { address, offset });
                break;
            }
            _ => {}
        }
        let header = ExtendedHeader::from_bits(bits);
        list.push((header.id(), offset));
        offset = header.next_offset();
    }
    list
}

//! The two lists of capabilities and the capabilities used here (7.5.2, 7.6, 7.7, 7.8, 10.5).
//!
//! ```
//! use hw::pci::capability::{self, ExtendedHeader, extended_id};
//!
//! let header = ExtendedHeader::from_bits(0x1501_000f);
//! assert_eq!(header.id(), extended_id::ATS);
//! assert_eq!(header.next_offset(), 0x150);
//! # let _ = capability::EXTENDED_BASE;
//! ```

use bitfield_struct::bitfield;

/// Ids of capabilities in the first 256 bytes (PCI Code and ID Assignment Specification).
pub mod id {
    /// Power management.
    pub const POWER_MANAGEMENT: u8 = 0x01;
    /// Message-signaled interrupts.
    pub const MSI: u8 = 0x05;
    /// HyperTransport: interrupts, and the mapping of messages to them.
    pub const HYPERTRANSPORT: u8 = 0x08;
    /// Vendor-specific; the project's [`AddressLines`](super::AddressLines) is one.
    pub const VENDOR_SPECIFIC: u8 = 0x09;
    /// Secure device: AMD's IOMMU, its place and whether it is on.
    pub const SECURE_DEVICE: u8 = 0x0f;
    /// PCI Express.
    pub const PCI_EXPRESS: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
    /// Serial ATA: where the pair of registers is that leads to all others (SATA AHCI 1.3.1, 2.4).
    pub const SATA: u8 = 0x12;
    /// Advanced features of conventional PCI.
    pub const ADVANCED_FEATURES: u8 = 0x13;
    /// Enhanced allocation: places of what would else be behind base address registers.
    pub const ENHANCED_ALLOCATION: u8 = 0x14;
}

/// Ids of extended capabilities (PCI Code and ID Assignment Specification).
pub mod extended_id {
    /// Advanced error reporting.
    pub const AER: u16 = 0x0001;
    /// Access control services.
    pub const ACS: u16 = 0x000d;
    /// Alternative routing-id interpretation.
    pub const ARI: u16 = 0x000e;
    /// Address translation services.
    pub const ATS: u16 = 0x000f;
    /// Single-root IO virtualisation.
    pub const SRIOV: u16 = 0x0010;
    /// Multi-root IO virtualisation.
    pub const MRIOV: u16 = 0x0011;
    /// Multicast.
    pub const MULTICAST: u16 = 0x0012;
    /// Page request interface.
    pub const PRI: u16 = 0x0013;
    /// Resizable base address registers.
    pub const RESIZABLE_BAR: u16 = 0x0015;
    /// Latency tolerance reporting.
    pub const LTR: u16 = 0x0018;
    /// Process address space id.
    pub const PASID: u16 = 0x001b;
    /// Designated vendor-specific: whose it is and what it does stands in its header (7.9.6); CXL has its own there.
    pub const DESIGNATED_VENDOR: u16 = 0x0023;
    /// Resizable base address registers of virtual functions.
    pub const VF_RESIZABLE_BAR: u16 = 0x0024;
}

/// First two bytes of every capability: what it is and where the next one lies (7.5.3.1).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Header {
    /// One of [`id`].
    pub id: u8,
    /// Offset of the next capability; 0 ends the list.
    pub next: u8,
}

impl Header {
    /// Offset of the next capability without the 2 low bits, which are reserved; 0 ends the list.
    pub const fn next_offset(self) -> u16 {
        (self.next() & 0xfc) as u16
    }
}

/// Offset of the first extended capability; a word of 0 there means that there is none.
pub const EXTENDED_BASE: u16 = 0x100;

/// First word of every extended capability (7.6.3).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ExtendedHeader {
    /// One of [`extended_id`].
    pub id: u16,
    /// Version of the capability's layout.
    #[bits(4)]
    pub version: u8,
    /// Offset of the next extended capability; 0 ends the list.
    #[bits(12)]
    pub next: u16,
}

impl ExtendedHeader {
    /// Offset of the next extended capability without the 2 low bits, which are reserved; 0 ends the list.
    pub const fn next_offset(self) -> u16 {
        self.next() & 0xffc
    }
}

/// Offset of [`ExpressFlags`] in the PCI Express capability, 16 bits.
pub const EXPRESS_FLAGS: u16 = 0x02;
/// Bytes of the PCI Express capability, version 2.
pub const EXPRESS_BYTES: u16 = 0x3c;

/// PCI Express capabilities register (7.5.3.2).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct ExpressFlags {
    /// Version of the capability's layout: 2.
    #[bits(4)]
    pub version: u8,
    /// Kind of function: one of [`port_type`].
    #[bits(4)]
    pub port_type: u8,
    /// The port is connected to a slot.
    pub slot: bool,
    /// Interrupt message number.
    #[bits(5)]
    pub interrupt_message: u8,
    #[bits(2)]
    __: u8,
}

/// Values of [`ExpressFlags::port_type`] (table 7-20).
pub mod port_type {
    /// PCI Express endpoint.
    pub const ENDPOINT: u8 = 0x0;
    /// Legacy PCI Express endpoint.
    pub const LEGACY_ENDPOINT: u8 = 0x1;
    /// Root port of a root complex.
    pub const ROOT_PORT: u8 = 0x4;
    /// Upstream port of a switch.
    pub const UPSTREAM_PORT: u8 = 0x5;
    /// Downstream port of a switch.
    pub const DOWNSTREAM_PORT: u8 = 0x6;
    /// PCI-Express-to-PCI bridge.
    pub const PCIE_TO_PCI_BRIDGE: u8 = 0x7;
    /// PCI-to-PCI-Express bridge.
    pub const PCI_TO_PCIE_BRIDGE: u8 = 0x8;
    /// Endpoint integrated in the root complex.
    pub const INTEGRATED_ENDPOINT: u8 = 0x9;
    /// Event collector of a root complex.
    pub const EVENT_COLLECTOR: u8 = 0xa;
}

/// Offset of [`AcsFlags`] that a function has, in its access control services capability, 16 bits (7.7.11.2).
pub const ACS_CAPABILITY: u16 = 0x04;
/// Offset of [`AcsFlags`] that are switched on, in the same capability, 16 bits (7.7.11.3).
pub const ACS_CONTROL: u16 = 0x06;
/// Bytes of an access control services capability without an egress control vector.
pub const ACS_BYTES: u16 = 0x08;

/// Access control services (6.12.1): what a port, or a function of a device with several, does with requests that could
/// reach another device without passing the root complex. The same bits in the capability register say what it can
/// do, in the control register what it does.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct AcsFlags {
    /// Requests whose requester id is of no bus below the port are errors.
    pub source_validation: bool,
    /// Requests that say they are translated already are errors.
    pub translation_blocking: bool,
    /// Requests to a peer go up to the root complex.
    pub request_redirect: bool,
    /// Completions of requests of a peer go up to the root complex.
    pub completion_redirect: bool,
    /// What was redirected goes up through further ports.
    pub upstream_forwarding: bool,
    /// A vector says which peers may be reached.
    pub egress_control: bool,
    /// Requests that were translated already go to a peer directly, whatever redirection says.
    pub direct_translated: bool,
    /// Enhanced capability: more blocking and redirection than asked for here.
    pub enhanced: bool,
    /// Bits of the egress control vector; in the capability register alone.
    pub egress_vector_size: u8,
}

impl AcsFlags {
    /// What keeps a device apart from its peers, so that each of its requests meets an IOMMU: source validation, request
    /// and completion redirection, upstream forwarding.
    pub const ISOLATING: Self = Self::new()
        .with_source_validation(true)
        .with_request_redirect(true)
        .with_completion_redirect(true)
        .with_upstream_forwarding(true);

    /// The flags set in both.
    pub const fn and(self, other: Self) -> Self {
        Self::from_bits(self.into_bits() & other.into_bits())
    }

    /// The flags set in either.
    pub const fn or(self, other: Self) -> Self {
        Self::from_bits(self.into_bits() | other.into_bits())
    }
}

/// The project's vendor-specific capability: how many address lines a function drives for DMA.
///
/// A convention of these models, not of any manual: a driver of real hardware knows the number from its device's
/// data sheet. Higher address bits of the function's requests are lost on the way to the bus.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AddressLines {
    /// [`id::VENDOR_SPECIFIC`].
    #[bits(8, default = id::VENDOR_SPECIFIC)]
    pub id: u8,
    /// Offset of the next capability; 0 ends the list.
    pub next: u8,
    /// Bytes of this capability, the header counted: [`AddressLines::BYTES`].
    #[bits(8, default = AddressLines::BYTES)]
    pub len_bytes: u8,
    /// Number of address lines: 1 to 64.
    pub bits: u8,
}

impl AddressLines {
    /// Bytes of the capability, the header counted.
    pub const BYTES: u8 = 4;
}

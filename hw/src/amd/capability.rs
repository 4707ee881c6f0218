//! The capability block of the PCI function that an IOMMU is (section 3.2).
//!
//! IVRS's IVHD block gives the function and the block's place in its configuration space. Constants are offsets
//! from there.
//!
//! ```
//! use hw::amd::capability::CapabilityHeader;
//!
//! let header = CapabilityHeader::from_bits(0x190b_640f);
//! assert_eq!((header.capid(), header.captype()), (0x0f, 3));
//! assert!(header.efrsup() && header.iotlbsup() && !header.npcache());
//! ```

use bitfield_struct::bitfield;

/// Capability header, 32 bits: [`CapabilityHeader`].
pub const HEADER: u64 = 0x00;
/// Base address low, 32 bits: [`BaseAddressLow`].
pub const BASE_LOW: u64 = 0x04;
/// Base address high: bits 63:32 of the address of the registers.
pub const BASE_HIGH: u64 = 0x08;
/// The range of devices, 32 bits.
pub const RANGE: u64 = 0x0c;
/// Miscellaneous information, 32 bits: [`Miscellaneous`]. Only with [`CapabilityHeader::capext`].
pub const MISCELLANEOUS: u64 = 0x10;

/// PCI capability id of the block: a secure device.
pub const CAPABILITY_ID: u8 = 0x0f;
/// [`CapabilityHeader::captype`] of an IOMMU.
pub const CAPABILITY_TYPE: u8 = 0b011;

/// `Capability Header`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CapabilityHeader {
    /// [`CAPABILITY_ID`].
    pub capid: u8,
    /// Offset of the next capability.
    pub capptr: u8,
    /// [`CAPABILITY_TYPE`].
    #[bits(3)]
    pub captype: u8,
    /// Revision: 1.
    #[bits(5)]
    pub caprev: u8,
    /// Devices' own translation caches are served.
    pub iotlbsup: bool,
    /// HyperTransport tunnel traffic can be translated.
    pub httunnel: bool,
    /// The IOMMU caches that an entry is not present: software invalidates after making one present, too.
    pub npcache: bool,
    /// There is an [extended feature register](super::regs::EXTENDED_FEATURES).
    pub efrsup: bool,
    /// There is a [`Miscellaneous`] word.
    pub capext: bool,
    #[bits(3)]
    __: u8,
}

/// `Base Address Low`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BaseAddressLow {
    /// The registers answer; once set, the capability is locked.
    pub enable: bool,
    #[bits(13)]
    __: u16,
    #[bits(18)]
    base_low: u32,
}

impl BaseAddressLow {
    /// Bits 31:14 of the address of the registers.
    pub const fn base(self) -> u32 {
        self.base_low() << 14
    }

    /// With bits 31:14 of `address` as those of the address of the registers.
    #[must_use]
    pub const fn with_base(self, address: u32) -> Self {
        self.with_base_low(address >> 14)
    }
}

/// `Miscellaneous Information Register 0`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Miscellaneous {
    /// Message of the event log and of completion waits.
    #[bits(5)]
    pub msinum: u8,
    /// Bits of a guest virtual address, encoded.
    #[bits(3)]
    pub gvasize: u8,
    /// Bits of a physical address.
    #[bits(7)]
    pub pasize: u8,
    /// Bits of a bus address.
    #[bits(7)]
    pub vasize: u8,
    /// The address range of HyperTransport translation responses is reserved.
    pub htatsresv: bool,
    #[bits(4)]
    __: u8,
    /// Message of the page request log.
    #[bits(5)]
    pub msinumppr: u8,
}

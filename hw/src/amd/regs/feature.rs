//! What an IOMMU can do.

use bitfield_struct::{bitenum, bitfield};

/// `ExtendedFeatures::hats`: how deep host page tables may be.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostLevels {
    /// 4 levels, 48 address bits.
    Four = 0,
    /// 5 levels, 57 address bits.
    Five = 1,
    /// 6 levels, 64 address bits.
    Six = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

impl HostLevels {
    /// The greatest number of levels, or `None` for the reserved value.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::Four => Some(4),
            Self::Five => Some(5),
            Self::Six => Some(6),
            Self::Reserved => None,
        }
    }
}

/// `Extended Feature` (section 3.4). What an IOMMU without this register has, all zero says too.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExtendedFeatures {
    /// Prefetch commands.
    pub prefsup: bool,
    /// Page requests.
    pub pprsup: bool,
    /// x2APIC destinations.
    pub xtsup: bool,
    /// No-execute protection.
    pub nxsup: bool,
    /// Guest translation.
    pub gtsup: bool,
    __: bool,
    /// [`InvalidateAll`](crate::amd::command::InvalidateAll).
    pub iasup: bool,
    /// Guest virtual APIC.
    pub gasup: bool,
    /// Hardware error registers.
    pub hesup: bool,
    /// Performance counters.
    pub pcsup: bool,
    /// Depth of host page tables.
    #[bits(2)]
    pub hats: HostLevels,
    /// Depth of guest page tables.
    #[bits(2)]
    pub gats: u8,
    /// Depth of guest CR3 tables.
    #[bits(2)]
    pub glxsup: u8,
    /// SMI filter.
    #[bits(2)]
    pub smifsup: u8,
    /// Number of SMI filter registers.
    #[bits(3)]
    pub smifrc: u8,
    /// Guest virtual-APIC modes.
    #[bits(3)]
    pub gamsup: u8,
    /// Dual page request log.
    #[bits(2)]
    pub dualpprlogsup: u8,
    #[bits(2)]
    __: u8,
    /// Dual event log.
    #[bits(2)]
    pub dualeventlogsup: u8,
    #[bits(2)]
    __: u8,
    /// Bits of a PASID, less one.
    #[bits(5)]
    pub pasmax: u8,
    /// User and supervisor protection.
    pub ussup: bool,
    /// Segments of the device table: up to `2^devtblsegsup`.
    #[bits(2)]
    pub devtblsegsup: u8,
    /// Early warning of page request log overflow.
    pub pprovrflwearlysup: bool,
    /// Automatic responses to page requests.
    pub pprautorspsup: bool,
    /// Memory address routing and control.
    #[bits(2)]
    pub marcsup: u8,
    /// Block stop marks.
    pub blkstopmrksup: bool,
    /// Performance optimisation register.
    pub perfoptsup: bool,
    /// The MSI capability has a mirror among these registers.
    pub msicapmmiosup: bool,
    __: bool,
    /// Guest I/O protection.
    pub giosup: bool,
    /// Host access flag.
    pub hasup: bool,
    /// Enhanced page request handling.
    pub ephsup: bool,
    /// Attribute forwarding.
    pub attrfwsup: bool,
    /// Host dirty flag.
    pub hdsup: bool,
    #[bits(11)]
    __: u16,
}

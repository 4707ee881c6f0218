//! Register-based invalidation, for units or moments without the invalidation queue (6.5.1).

use bitfield_struct::{bitenum, bitfield};

/// What part of the context cache is invalidated: `CCMD_REG.CIRG`, `CAIG` and descriptor field `G`.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextGranularity {
    /// Not a request; as `CAIG`, an incorrect request was ignored.
    #[fallback]
    Reserved = 0,
    /// Every entry.
    Global = 1,
    /// Every entry of one domain.
    Domain = 2,
    /// The entries of one requester in one domain, or those that the function mask adds.
    Device = 3,
}

/// What part of the IOTLB is invalidated: `IOTLB_REG.IIRG`, `IAIG` and descriptor field `G`.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IotlbGranularity {
    /// Not a request; as `IAIG`, an incorrect request was ignored.
    #[fallback]
    Reserved = 0,
    /// Every entry.
    Global = 1,
    /// Every entry of one domain.
    Domain = 2,
    /// `2^AM` pages of one domain.
    Page = 3,
}

/// Which bits of a requester's function number a device-selective invalidation ignores.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionMask {
    /// None: exactly this requester.
    #[fallback]
    None = 0,
    /// Bit 2.
    Bit2 = 1,
    /// Bits 2:1.
    Bits21 = 2,
    /// Bits 2:0: every function of the device.
    Bits210 = 3,
}

/// `CCMD_REG`: context-cache invalidation by register (11.4.6.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ContextCommand {
    /// Domain id.
    pub did: u16,
    /// Source id: the requester.
    pub sid: u16,
    /// Function mask.
    #[bits(2)]
    pub fm: FunctionMask,
    #[bits(25)]
    __: u32,
    /// Granularity that hardware used, read only.
    #[bits(2)]
    pub caig: ContextGranularity,
    /// Granularity asked for.
    #[bits(2)]
    pub cirg: ContextGranularity,
    /// Invalidate: set to start, cleared by hardware at the end.
    pub icc: bool,
}

/// `IVA_REG`: the pages of a page-selective invalidation by register (11.4.6.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InvalidateAddress {
    /// Address mask: `2^am` pages.
    #[bits(6)]
    pub am: u8,
    /// Invalidation hint: only leaves changed, so that cached non-leaf entries may stay.
    pub ih: bool,
    #[bits(5)]
    __: u8,
    #[bits(52)]
    addr_page: u64,
}

impl InvalidateAddress {
    /// First bus address to invalidate.
    pub const fn addr(self) -> u64 {
        self.addr_page() << 12
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as first bus address.
    #[must_use]
    pub const fn with_addr(self, bus: u64) -> Self {
        self.with_addr_page(bus >> 12)
    }
}

/// `IOTLB_REG`: IOTLB invalidation by register (11.4.6.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct IotlbInvalidate {
    #[bits(32)]
    __: u32,
    /// Domain id.
    pub did: u16,
    /// Drain writes.
    pub dw: bool,
    /// Drain reads.
    pub dr: bool,
    #[bits(7)]
    __: u8,
    /// Granularity that hardware used, read only.
    #[bits(2)]
    pub iaig: IotlbGranularity,
    __: bool,
    /// Granularity asked for.
    #[bits(2)]
    pub iirg: IotlbGranularity,
    __: bool,
    /// Invalidate: set to start, cleared by hardware at the end.
    pub ivt: bool,
}

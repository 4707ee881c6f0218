//! Fault reports (5.13.6.9): what the device writes into buffers of the event queue.
//!
//! ```
//! use hw::virtio::iommu::fault::{Fault, FaultFlags, FaultReason};
//!
//! let fault = Fault::from_words([0x02, 0x101, 0x18, 0, 0x1000, 0x1]);
//! assert_eq!(FaultReason::from_code(fault.reason), Some(FaultReason::Mapping));
//! assert!(fault.flags.read() && fault.flags.address() && !fault.flags.write());
//! assert_eq!((fault.endpoint, fault.address), (0x18, 0x1_0000_1000));
//! ```

use bitfield_struct::bitfield;

/// Bytes of a report.
pub const FAULT_BYTES: u64 = 24;

/// One refused request of an endpoint. The reserved words are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Code of a [`FaultReason`].
    pub reason: u8,
    /// What the endpoint wanted, and what is known of it.
    pub flags: FaultFlags,
    /// Who.
    pub endpoint: u32,
    /// Where, with [`FaultFlags::address`].
    pub address: u64,
}

impl Fault {
    /// The report as it lies in memory, in words of 32 bits.
    pub const fn to_words(self) -> [u32; 6] {
        [
            self.reason as u32,
            self.flags.into_bits(),
            self.endpoint,
            0,
            self.address as u32,
            (self.address >> 32) as u32,
        ]
    }

    /// The report that lies in memory as `words`; reserved ones are dropped.
    pub const fn from_words(words: [u32; 6]) -> Self {
        Self {
            reason: words[0] as u8,
            flags: FaultFlags::from_bits(words[1]),
            endpoint: words[2],
            address: words[4] as u64 | (words[5] as u64) << 32,
        }
    }
}

/// What a refused request wanted.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FaultFlags {
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
    /// To fetch instructions.
    pub exec: bool,
    #[bits(5)]
    __: u8,
    /// The address of the report is valid.
    pub address: bool,
    #[bits(23)]
    __: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FaultReason {
    /// `VIRTIO_IOMMU_FAULT_R_UNKNOWN`.
    Unknown = 0,
    /// `VIRTIO_IOMMU_FAULT_R_DOMAIN`.
    Domain = 1,
    /// `VIRTIO_IOMMU_FAULT_R_MAPPING`.
    Mapping = 2,
}

impl FaultReason {
    /// The reason of `code`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Unknown),
            1 => Some(Self::Domain),
            2 => Some(Self::Mapping),
            _ => None,
        }
    }

    /// Its code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "an internal error, or an error that cannot be told",
            Self::Domain => "the endpoint is not attached to a domain",
            Self::Mapping => "no mapping grants the access",
        }
    }
}

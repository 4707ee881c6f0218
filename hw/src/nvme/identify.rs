//! What controller and namespace say of themselves: the data of the identify command (Base 5.17.2).
//!
//! The fields in use have names; what lies between them are bytes without meaning here.
//!
//! ```
//! use hw::nvme::identify::{IdentifyController, IdentifyNamespace, LbaFormat};
//! use zerocopy::FromZeros;
//!
//! let mut namespace = IdentifyNamespace::new_zeroed();
//! namespace.nsze = 2048;
//! namespace.lbaf[0] = LbaFormat::new().with_lbads(9).into_bits();
//! assert_eq!(namespace.format().lbads(), 9);
//! assert_eq!(size_of::<IdentifyController>(), 4096);
//! ```

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of every identify data structure.
pub const DATA_BYTES: usize = 4096;

/// Identify controller data structure (Base figure "Identify Controller Data Structure").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyController {
    /// PCI vendor id.
    pub vid: u16,
    /// PCI subsystem vendor id.
    pub ssvid: u16,
    /// Serial number, ASCII, padded with spaces.
    pub sn: [u8; 20],
    /// Model number, ASCII, padded with spaces.
    pub mn: [u8; 40],
    /// Firmware revision, ASCII, padded with spaces.
    pub fr: [u8; 8],
    /// Recommended arbitration burst.
    pub rab: u8,
    /// IEEE OUI of the vendor.
    pub ieee: [u8; 3],
    /// Multi-path and namespace sharing capabilities.
    pub cmic: u8,
    /// Maximum data transfer size, encoded: `2^mdts` pages of the smallest size; 0 for no limit.
    pub mdts: u8,
    /// Controller id.
    pub cntlid: u16,
    /// Version, laid out as [`Version`](super::regs::Version).
    pub ver: u32,
    /// Not named here.
    pub bytes_84_255: [u8; 172],
    /// Optional admin commands supported.
    pub oacs: u16,
    /// Abort command limit, encoded as one less.
    pub acl: u8,
    /// Asynchronous event request limit, encoded as one less.
    pub aerl: u8,
    /// Firmware updates.
    pub frmw: u8,
    /// Log page attributes.
    pub lpa: u8,
    /// Error log page entries, encoded as one less.
    pub elpe: u8,
    /// Power states, encoded as one less.
    pub npss: u8,
    /// Not named here.
    pub bytes_264_511: [u8; 248],
    /// Submission queue entry sizes, log2: required in bits 3:0, maximum in bits 7:4.
    pub sqes: u8,
    /// Completion queue entry sizes, log2: required in bits 3:0, maximum in bits 7:4.
    pub cqes: u8,
    /// Maximum outstanding commands; 0 if not told.
    pub maxcmd: u16,
    /// Number of namespaces: the highest valid namespace id.
    pub nn: u32,
    /// Optional NVM commands supported.
    pub oncs: u16,
    /// Fused operations supported.
    pub fuses: u16,
    /// Format NVM attributes.
    pub fna: u8,
    /// Volatile write cache: bit 0 is set where there is one.
    pub vwc: u8,
    /// Not named here.
    pub bytes_526_767: [u8; 242],
    /// NVM subsystem qualified name, UTF-8, ended by a zero byte.
    pub subnqn: [u8; 256],
    /// Not named here.
    pub bytes_1024_4095: [u8; 3072],
}

const _: () = assert!(size_of::<IdentifyController>() == DATA_BYTES);

/// Identify namespace data structure (NVM Command Set figure "Identify Namespace Data Structure").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// Namespace size in logical blocks.
    pub nsze: u64,
    /// Namespace capacity in logical blocks.
    pub ncap: u64,
    /// Namespace utilisation in logical blocks.
    pub nuse: u64,
    /// Namespace features.
    pub nsfeat: u8,
    /// Number of LBA formats, encoded as one less.
    pub nlbaf: u8,
    /// Formatted LBA size: [`FormattedLbaSize`].
    pub flbas: u8,
    /// Metadata capabilities.
    pub mc: u8,
    /// End-to-end data protection capabilities.
    pub dpc: u8,
    /// End-to-end data protection settings.
    pub dps: u8,
    /// Not named here.
    pub bytes_30_127: [u8; 98],
    /// LBA formats: each an [`LbaFormat`].
    pub lbaf: [u32; 64],
    /// Not named here.
    pub bytes_384_4095: [u8; 3712],
}

const _: () = assert!(size_of::<IdentifyNamespace>() == DATA_BYTES);

impl IdentifyNamespace {
    /// The LBA format in use.
    pub const fn format(&self) -> LbaFormat {
        LbaFormat::from_bits(self.lbaf[FormattedLbaSize::from_bits(self.flbas).index()])
    }
}

/// `FLBAS`: which LBA format is in use.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct FormattedLbaSize {
    /// Bits 3:0 of the format's index.
    #[bits(4)]
    pub index_low: u8,
    /// Metadata lies at the end of each block instead of in a buffer of its own.
    pub extended: bool,
    /// Bits 5:4 of the format's index.
    #[bits(2)]
    pub index_high: u8,
    __: bool,
}

impl FormattedLbaSize {
    /// Index in [`IdentifyNamespace::lbaf`]: below 64.
    pub const fn index(self) -> usize {
        (self.index_high() as usize) << 4 | self.index_low() as usize
    }
}

/// One LBA format (NVM Command Set figure "LBA Format Data Structure").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LbaFormat {
    /// Metadata bytes of each block.
    pub ms: u16,
    /// LBA data size, encoded: `2^lbads` bytes; 0 where the format does not exist.
    pub lbads: u8,
    /// Relative performance.
    #[bits(2)]
    pub rp: u8,
    #[bits(6)]
    __: u8,
}

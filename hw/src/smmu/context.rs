//! Context descriptors: from a stream and its substream to a stage 1 table (5.3, 5.4).
//!
//! ```
//! use hw::smmu::context::{Cd0, Cd1, ContextDescriptor};
//!
//! // 48-bit addresses, table at 0x8000, ASID 7.
//! let descriptor = ContextDescriptor {
//!     word0: Cd0::new().with_t0sz(16).with_epd1(true).with_v(true).with_aa64(true).with_asid(7),
//!     word1: Cd1::new().with_ttb0(0x8000),
//!     ..ContextDescriptor::default()
//! };
//! assert_eq!(descriptor.to_words()[..2], [0x0007_0200_c000_0010, 0x8000]);
//! ```

use bitfield_struct::bitfield;

use super::stream::Granule;

/// Bytes of one descriptor.
pub const DESCRIPTOR_BYTES: u64 = 64;
/// 64-bit words of one descriptor.
pub const DESCRIPTOR_WORDS: usize = 8;

/// A first-level descriptor of a two-level table of context descriptors (5.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Level1Descriptor {
    /// Valid.
    pub v: bool,
    #[bits(11)]
    __: u16,
    #[bits(40)]
    l2ptr_frame: u64,
    #[bits(12)]
    __: u16,
}

impl Level1Descriptor {
    /// Address of the array of descriptors: physical, or intermediate where stage 2 translates.
    pub const fn l2ptr(self) -> u64 {
        self.l2ptr_frame() << 12
    }

    /// With the array at `phys`, a multiple of 4 KiB (lower bits are dropped, and so are those above bit 51).
    #[must_use]
    pub const fn with_l2ptr(self, phys: u64) -> Self {
        self.with_l2ptr_frame(phys << 12 >> 24)
    }
}

/// Bits 63:0 of a descriptor. Cacheability and shareability as in
/// [`cacheability`](super::stream::cacheability) and [`shareability`](super::stream::shareability).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cd0 {
    /// The lower range of addresses has `64 - t0sz` bits.
    #[bits(6)]
    pub t0sz: u8,
    /// Granule of the lower range.
    #[bits(2)]
    pub tg0: Granule,
    /// Inner cacheability of walks of the lower range.
    #[bits(2)]
    pub ir0: u8,
    /// Outer cacheability of walks of the lower range.
    #[bits(2)]
    pub or0: u8,
    /// Shareability of walks of the lower range.
    #[bits(2)]
    pub sh0: u8,
    /// The lower range is not walked: requests to it fault.
    pub epd0: bool,
    /// Tables are big-endian.
    pub endi: bool,
    /// The upper range of addresses has `64 - t1sz` bits.
    #[bits(6)]
    pub t1sz: u8,
    /// Granule of the upper range; encoded otherwise than `tg0`: 1 is 16 KiB, 2 is 4 KiB, 3 is 64 KiB.
    #[bits(2)]
    pub tg1: u8,
    /// Inner cacheability of walks of the upper range.
    #[bits(2)]
    pub ir1: u8,
    /// Outer cacheability of walks of the upper range.
    #[bits(2)]
    pub or1: u8,
    /// Shareability of walks of the upper range.
    #[bits(2)]
    pub sh1: u8,
    /// The upper range is not walked: requests to it fault.
    pub epd1: bool,
    /// Valid.
    pub v: bool,
    /// Size of the addresses that stage 1 gives, encoded as `IDR5.OAS`.
    #[bits(3)]
    pub ips: u8,
    /// Descriptors whose access flag is clear do not fault.
    pub affd: bool,
    /// Writable is never executable.
    pub wxn: bool,
    /// Writable by user is never executable by privileged.
    pub uwxn: bool,
    /// The top byte of addresses is ignored, of either range.
    #[bits(2)]
    pub tbi: u8,
    /// Privileged access to user's pages is refused.
    pub pan: bool,
    /// Tables are in VMSAv8-64 format.
    pub aa64: bool,
    /// Hardware updates dirty state.
    pub hd: bool,
    /// Hardware updates access flags.
    pub ha: bool,
    /// Requests that fault are stalled.
    pub s: bool,
    /// Faults are recorded.
    pub r: bool,
    /// Requests that fault are aborted, else they read zero and write nothing.
    pub a: bool,
    /// The ASID is not of the set that broadcast invalidations hit.
    pub aset: bool,
    /// ASID that translations are tagged with.
    pub asid: u16,
}

/// Bits 127:64 of a descriptor: the table of the lower range.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cd1 {
    /// Security of walks.
    pub nscfg0: bool,
    /// Hierarchical attributes are ignored.
    pub had0: bool,
    /// Unprivileged access faults.
    pub e0pd0: bool,
    __: bool,
    #[bits(48)]
    ttb0_units: u64,
    #[bits(8)]
    __: u8,
    /// Hardware-use bits 62:59 are the implementation's.
    #[bits(4)]
    pub hwu0: u8,
}

impl Cd1 {
    /// Bits that are to be zero.
    pub const RESERVED: u64 = 0x0ff0_0000_0000_0008;

    /// Address of the table's root: physical, or intermediate where stage 2 translates.
    pub const fn ttb0(self) -> u64 {
        self.ttb0_units() << 4
    }

    /// With the table's root at `phys`, aligned to its size (bits below 16 are dropped, and so are those above
    /// bit 51).
    #[must_use]
    pub const fn with_ttb0(self, phys: u64) -> Self {
        self.with_ttb0_units(phys << 12 >> 16)
    }
}

/// One context descriptor (5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextDescriptor {
    /// Bits 63:0.
    pub word0: Cd0,
    /// Bits 127:64.
    pub word1: Cd1,
    /// Bits 191:128: the table of the upper range, as [`Cd1`].
    pub word2: Cd1,
    /// Bits 255:192: `MAIR`, the memory type of each of the 8 values of a leaf's attribute index, a byte each.
    pub mair: u64,
    /// Bits 319:256: `AMAIR`, the implementation's.
    pub amair: u64,
    /// Bits 511:320: partitioning. Zero without it.
    pub rest: [u64; 3],
}

impl ContextDescriptor {
    /// The descriptor as it lies in memory.
    pub const fn to_words(self) -> [u64; DESCRIPTOR_WORDS] {
        [
            self.word0.into_bits(),
            self.word1.into_bits(),
            self.word2.into_bits(),
            self.mair,
            self.amair,
            self.rest[0],
            self.rest[1],
            self.rest[2],
        ]
    }

    /// The descriptor that lies in memory as `words`.
    pub const fn from_words(words: [u64; DESCRIPTOR_WORDS]) -> Self {
        Self {
            word0: Cd0::from_bits(words[0]),
            word1: Cd1::from_bits(words[1]),
            word2: Cd1::from_bits(words[2]),
            mair: words[3],
            amair: words[4],
            rest: [words[5], words[6], words[7]],
        }
    }
}

//! Properties of an endpoint (5.13.6.8): a list of headers, each followed by as many bytes as it says.
//!
//! ```
//! use hw::virtio::iommu::probe::{PropertyHeader, PropertyType, ReservedMemory, ReservedSubtype};
//!
//! let window = ReservedMemory {
//!     subtype: ReservedSubtype::Msi.code(),
//!     start: 0xfee0_0000,
//!     end: 0xfeef_ffff,
//! };
//! let words = window.to_words();
//! assert_eq!(words, [0x0014_0001, 0x1, 0xfee0_0000, 0, 0xfeef_ffff, 0]);
//! let header = PropertyHeader::from_bits(words[0]);
//! assert_eq!(PropertyType::from_code(header.kind()), Some(PropertyType::ReservedMemory));
//! assert_eq!(ReservedMemory::from_words(words), window);
//! ```

use bitfield_struct::bitfield;

/// First word of a property.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PropertyHeader {
    /// A [`PropertyType`]: the low 12 bits of the field `type`.
    #[bits(12)]
    pub kind: u16,
    #[bits(4)]
    __: u8,
    /// Bytes that follow this word.
    pub length: u16,
}

/// Bytes of [`PropertyHeader`].
pub const HEADER_BYTES: u64 = 4;

/// What a property tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PropertyType {
    /// The list is at its end.
    None = 0,
    /// [`ReservedMemory`].
    ReservedMemory = 1,
}

impl PropertyType {
    /// The type of `code`; `None` for those to be skipped.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::ReservedMemory),
            _ => None,
        }
    }

    /// Its code in [`PropertyHeader::kind`].
    pub const fn code(self) -> u16 {
        self as u16
    }
}

/// `RESV_MEM`: addresses that an endpoint cannot use for memory that is mapped (5.13.6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedMemory {
    /// A [`ReservedSubtype`]; an unknown one counts as reserved.
    pub subtype: u8,
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
}

impl ReservedMemory {
    /// Bytes that follow the header.
    pub const LENGTH: u16 = 20;

    /// The property as it lies in memory, its header included, in words of 32 bits.
    pub const fn to_words(self) -> [u32; 6] {
        [
            PropertyHeader::new()
                .with_kind(PropertyType::ReservedMemory.code())
                .with_length(Self::LENGTH)
                .into_bits(),
            self.subtype as u32,
            self.start as u32,
            (self.start >> 32) as u32,
            self.end as u32,
            (self.end >> 32) as u32,
        ]
    }

    /// The property that lies in memory as `words`, its header included.
    pub const fn from_words(words: [u32; 6]) -> Self {
        Self {
            subtype: words[1] as u8,
            start: words[2] as u64 | (words[3] as u64) << 32,
            end: words[4] as u64 | (words[5] as u64) << 32,
        }
    }
}

/// Why addresses are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReservedSubtype {
    /// `VIRTIO_IOMMU_RESV_MEM_T_RESERVED`: accesses are refused, or go where no mapping says.
    Reserved = 0,
    /// `VIRTIO_IOMMU_RESV_MEM_T_MSI`: writes are interrupts and pass as they are.
    Msi = 1,
}

impl ReservedSubtype {
    /// The subtype of `code`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Reserved),
            1 => Some(Self::Msi),
            _ => None,
        }
    }

    /// Its code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

//! Requests (5.13.6): a part the device reads, and behind it a part it writes, at least [`Tail`].
//!
//! Each type here is the part the device reads, without the reserved fields, which are zero. `to_words` gives it
//! as it lies in memory, in words of 32 bits; [`Head`] says which it is.
//!
//! ```
//! use hw::virtio::iommu::request::{Head, Map, MapFlags, RequestType, Status, Tail};
//!
//! let map = Map {
//!     domain: 7,
//!     virt_start: 0x1_0000_0000,
//!     virt_end: 0x1_0000_0fff,
//!     phys_start: 0x8000_0000,
//!     flags: MapFlags::new().with_read(true),
//! };
//! let words = map.to_words();
//! assert_eq!(words, [0x03, 7, 0, 1, 0xfff, 1, 0x8000_0000, 0, 0x1]);
//! let kind = RequestType::from_code(Head::from_bits(words[0]).kind());
//! assert_eq!(kind, Some(RequestType::Map));
//! assert_eq!(Status::from_code(Tail::from_bits(0x06).status()), Some(Status::NoEntry));
//! ```

use bitfield_struct::bitfield;

/// First word of every request.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Head {
    /// A [`RequestType`].
    pub kind: u8,
    #[bits(24)]
    __: u32,
}

/// Last word of every request, which the device writes.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tail {
    /// A [`Status`].
    pub status: u8,
    #[bits(24)]
    __: u32,
}

/// Bytes of [`Tail`].
pub const TAIL_BYTES: u64 = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestType {
    /// [`Attach`].
    Attach = 1,
    /// [`Detach`].
    Detach = 2,
    /// [`Map`].
    Map = 3,
    /// [`Unmap`].
    Unmap = 4,
    /// [`Probe`].
    Probe = 5,
}

impl RequestType {
    /// The type of `code`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Attach),
            2 => Some(Self::Detach),
            3 => Some(Self::Map),
            4 => Some(Self::Unmap),
            5 => Some(Self::Probe),
            _ => None,
        }
    }

    /// Its code in [`Head::kind`].
    pub const fn code(self) -> u8 {
        self as u8
    }

    const fn head(self) -> u32 {
        Head::new().with_kind(self.code()).into_bits()
    }
}

/// How a request ended (5.13.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// `VIRTIO_IOMMU_S_OK`.
    Ok = 0,
    /// `VIRTIO_IOMMU_S_IOERR`.
    IoError = 1,
    /// `VIRTIO_IOMMU_S_UNSUPP`.
    Unsupported = 2,
    /// `VIRTIO_IOMMU_S_DEVERR`.
    DeviceError = 3,
    /// `VIRTIO_IOMMU_S_INVAL`.
    Invalid = 4,
    /// `VIRTIO_IOMMU_S_RANGE`.
    Range = 5,
    /// `VIRTIO_IOMMU_S_NOENT`.
    NoEntry = 6,
    /// `VIRTIO_IOMMU_S_FAULT`.
    Fault = 7,
    /// `VIRTIO_IOMMU_S_NOMEM`.
    NoMemory = 8,
}

impl Status {
    /// The status of `code`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Ok),
            1 => Some(Self::IoError),
            2 => Some(Self::Unsupported),
            3 => Some(Self::DeviceError),
            4 => Some(Self::Invalid),
            5 => Some(Self::Range),
            6 => Some(Self::NoEntry),
            7 => Some(Self::Fault),
            8 => Some(Self::NoMemory),
            _ => None,
        }
    }

    /// Its code in [`Tail::status`].
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "all good",
            Self::IoError => "virtio communication error",
            Self::Unsupported => "unsupported request",
            Self::DeviceError => "internal device error",
            Self::Invalid => "invalid parameters",
            Self::Range => "out-of-range parameters",
            Self::NoEntry => "no such domain or endpoint",
            Self::Fault => "the request's memory could not be used",
            Self::NoMemory => "the device is out of memory",
        }
    }
}

const fn low(value: u64) -> u32 {
    value as u32
}

const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Puts an endpoint into a domain, which exists from the first one on (5.13.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The domain.
    pub domain: u32,
    /// The endpoint.
    pub endpoint: u32,
    /// How.
    pub flags: AttachFlags,
}

/// Flags of [`Attach`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AttachFlags {
    /// The domain lets everything through; valid with `BYPASS_CONFIG`.
    pub bypass: bool,
    #[bits(31)]
    __: u32,
}

impl Attach {
    /// Words that the device reads.
    pub const WORDS: usize = 5;
    /// Bits that are zero in a correct request.
    pub const RESERVED: [u32; Self::WORDS] = [0xffff_ff00, 0, 0, 0xffff_fffe, 0xffff_ffff];

    /// The request as it lies in memory.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [
            RequestType::Attach.head(),
            self.domain,
            self.endpoint,
            self.flags.into_bits(),
            0,
        ]
    }

    /// The request that lies in memory as `words`.
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        Self {
            domain: words[1],
            endpoint: words[2],
            flags: AttachFlags::from_bits(words[3]),
        }
    }
}

/// Takes an endpoint out of a domain, which goes with its last one (5.13.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detach {
    /// The domain.
    pub domain: u32,
    /// The endpoint.
    pub endpoint: u32,
}

impl Detach {
    /// Words that the device reads.
    pub const WORDS: usize = 5;
    /// Bits that are zero in a correct request.
    pub const RESERVED: [u32; Self::WORDS] = [0xffff_ff00, 0, 0, 0xffff_ffff, 0xffff_ffff];

    /// The request as it lies in memory.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [RequestType::Detach.head(), self.domain, self.endpoint, 0, 0]
    }

    /// The request that lies in memory as `words`.
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        Self {
            domain: words[1],
            endpoint: words[2],
        }
    }
}

/// Maps a range of addresses of a domain to memory (5.13.6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// The domain.
    pub domain: u32,
    /// First address.
    pub virt_start: u64,
    /// Last address.
    pub virt_end: u64,
    /// Physical address that the first one leads to.
    pub phys_start: u64,
    /// What is granted.
    pub flags: MapFlags,
}

/// Flags of [`Map`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MapFlags {
    /// Reads are granted.
    pub read: bool,
    /// Writes are granted.
    pub write: bool,
    /// The memory is a device's registers; valid with the feature `MMIO`.
    pub mmio: bool,
    #[bits(29)]
    __: u32,
}

impl Map {
    /// Words that the device reads.
    pub const WORDS: usize = 9;
    /// Bits that are zero in a correct request.
    pub const RESERVED: [u32; Self::WORDS] = [0xffff_ff00, 0, 0, 0, 0, 0, 0, 0, 0xffff_fff8];

    /// The request as it lies in memory.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [
            RequestType::Map.head(),
            self.domain,
            low(self.virt_start),
            high(self.virt_start),
            low(self.virt_end),
            high(self.virt_end),
            low(self.phys_start),
            high(self.phys_start),
            self.flags.into_bits(),
        ]
    }

    /// The request that lies in memory as `words`.
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        Self {
            domain: words[1],
            virt_start: join(words[2], words[3]),
            virt_end: join(words[4], words[5]),
            phys_start: join(words[6], words[7]),
            flags: MapFlags::from_bits(words[8]),
        }
    }
}

/// Removes the mappings of a domain in a range, whole ones only (5.13.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// The domain.
    pub domain: u32,
    /// First address.
    pub virt_start: u64,
    /// Last address.
    pub virt_end: u64,
}

impl Unmap {
    /// Words that the device reads.
    pub const WORDS: usize = 7;
    /// Bits that are zero in a correct request.
    pub const RESERVED: [u32; Self::WORDS] = [0xffff_ff00, 0, 0, 0, 0, 0, 0xffff_ffff];

    /// The request as it lies in memory.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [
            RequestType::Unmap.head(),
            self.domain,
            low(self.virt_start),
            high(self.virt_start),
            low(self.virt_end),
            high(self.virt_end),
            0,
        ]
    }

    /// The request that lies in memory as `words`.
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        Self {
            domain: words[1],
            virt_start: join(words[2], words[3]),
            virt_end: join(words[4], words[5]),
        }
    }
}

/// Asks for the properties of an endpoint (5.13.6.7). The device writes `probe_size` bytes of properties before its
/// [`Tail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The endpoint.
    pub endpoint: u32,
}

impl Probe {
    /// Words that the device reads: 64 reserved bytes follow the endpoint.
    pub const WORDS: usize = 18;

    /// The request as it lies in memory.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        words[0] = RequestType::Probe.head();
        words[1] = self.endpoint;
        words
    }

    /// The request that lies in memory as `words`.
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        Self { endpoint: words[1] }
    }
}

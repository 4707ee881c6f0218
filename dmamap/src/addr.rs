//! The three addresses of the picture, their ranges, and the mask that limits one of them.
//!
//! [`VirtAddr`] (C and X), [`PhysAddr`] (B and Y) and [`BusAddr`] (A and Z) are different kinds: no
//! `From` or arithmetic leads from one to another. A conversion is a method of whatever owns the arrow:
//! [`Platform::virt_to_phys`](crate::platform::Platform::virt_to_phys),
//! `HostBridge::bus_to_phys`, a mapping's `bus_addr`.
//!
//! ```
//! use dmamap::addr::{BusAddr, BusRange, DmaMask};
//!
//! let mask = DmaMask::from_bits(28)?;
//! assert!(mask.covers(BusRange::new(BusAddr::new(0x0fff_f000), 4096)?));
//! assert!(!mask.covers(BusRange::new(BusAddr::new(0x0fff_f000), 4097)?));
//! # Ok::<(), dmamap::addr::AddrError>(())
//! ```

use core::fmt;

/// log2 of [`FRAME_BYTES`].
pub const FRAME_SIZE_LOG2: u32 = 12;

/// Bytes in one physical frame, the unit the platform lends memory in and the smallest IOMMU page.
pub const FRAME_BYTES: u64 = 1 << FRAME_SIZE_LOG2;

/// Why an address, range or mask cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// The range would pass the end of the 64-bit address space.
    #[error("{len_bytes:#x} bytes from {start:#x} pass the end of the address space")]
    RangeOverflow {
        /// First address of the range.
        start: u64,
        /// Its length.
        len_bytes: u64,
    },
    /// A mask has between 1 and 64 bits.
    #[error("a DMA mask of {bits} bits cannot exist: it has 1 to 64")]
    MaskBits {
        /// What was asked for.
        bits: u32,
    },
}

macro_rules! address {
    ($(#[$doc:meta])* $addr:ident, $(#[$range_doc:meta])* $range:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $addr(u64);

        impl $addr {
            /// The address whose number is `value`.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The address as a number, for hardware words and for printing.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The address `bytes` higher, or `None` past the end of the address space.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// Bytes from the start of the frame this address lies in.
            pub const fn frame_offset(self) -> u64 {
                self.0 & (FRAME_BYTES - 1)
            }

            /// The first address of the `2^log2`-byte block this address lies in.
            pub const fn align_down(self, log2: u32) -> Self {
                Self(self.0 >> log2 << log2)
            }

            /// Whether the address is a multiple of `2^log2` bytes.
            pub const fn is_aligned(self, log2: u32) -> bool {
                self.0.trailing_zeros() >= log2
            }
        }

        impl fmt::Debug for $addr {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, " {:#x}"), self.0)
            }
        }

        impl fmt::Display for $addr {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $addr {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        $(#[$range_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $range {
            start: $addr,
            len_bytes: u64,
        }

        impl $range {
            /// The `len_bytes` bytes from `start`.
            ///
            /// # Errors
            /// [`AddrError::RangeOverflow`] if the last byte would have no address.
            pub const fn new(start: $addr, len_bytes: u64) -> Result<Self, AddrError> {
                // One past its end may be 2^64, which is 0 here.
                let (end, passes) = start.0.overflowing_add(len_bytes);
                if passes && end > 0 {
                    return Err(AddrError::RangeOverflow { start: start.0, len_bytes });
                }
                Ok(Self { start, len_bytes })
            }

            /// A range that exists: it ends within the address space, as a part of another one does.
            #[allow(dead_code, reason = "not every kind of address has parts that are told so")]
            #[inline]
            pub(crate) const fn of_existing(start: $addr, len_bytes: u64) -> Self {
                debug_assert!(len_bytes == 0 || start.0.checked_add(len_bytes - 1).is_some());
                Self { start, len_bytes }
            }

            /// First address.
            pub const fn start(self) -> $addr {
                self.start
            }

            /// Number of bytes.
            pub const fn len_bytes(self) -> u64 {
                self.len_bytes
            }

            /// Whether the range holds no byte.
            pub const fn is_empty(self) -> bool {
                self.len_bytes == 0
            }

            /// Last address, inclusive; for an empty range its start.
            pub const fn last(self) -> $addr {
                $addr(self.start.0 + self.len_bytes.saturating_sub(1))
            }

            /// Whether `addr` is one of the range's bytes.
            pub const fn contains(self, addr: $addr) -> bool {
                addr.0 >= self.start.0 && addr.0 - self.start.0 < self.len_bytes
            }

            /// Whether every byte of `other` is one of this range's.
            pub const fn covers(self, other: Self) -> bool {
                other.len_bytes == 0 || (self.contains(other.start) && self.contains(other.last()))
            }

            /// Whether the two share a byte.
            pub const fn overlaps(self, other: Self) -> bool {
                self.len_bytes != 0
                    && other.len_bytes != 0
                    && self.start.0 <= other.last().0
                    && other.start.0 <= self.last().0
            }

            /// The `len_bytes` bytes from `offset` on, or `None` where they leave this range.
            pub const fn slice(self, offset: u64, len_bytes: u64) -> Option<Self> {
                match offset.checked_add(len_bytes) {
                    Some(end) if end <= self.len_bytes => Some(Self {
                        start: $addr(self.start.0.wrapping_add(offset)),
                        len_bytes,
                    }),
                    _ => None,
                }
            }
        }

        impl fmt::Debug for $range {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, " {:#x}-{:#x}"), self.start.0, self.last().0)
            }
        }

        impl fmt::Display for $range {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}-{:#x}", self.start.0, self.last().0)
            }
        }
    };
}

address!(
    /// A CPU virtual address: C when it points at registers, X when it points at memory.
    VirtAddr,
    /// A run of CPU virtual addresses.
    VirtRange,
    "virt"
);
address!(
    /// A CPU physical address: B when registers answer there, Y when memory does.
    PhysAddr,
    /// A run of CPU physical addresses.
    PhysRange,
    "phys"
);
address!(
    /// A bus address: A where a device's registers answer, Z where a device reaches memory ("DMA
    /// address", "IOVA").
    BusAddr,
    /// A run of bus addresses.
    BusRange,
    "bus"
);

impl VirtAddr {
    /// The address `pointer` points at.
    pub fn from_ptr<T: ?Sized>(pointer: *const T) -> Self {
        Self(pointer.cast::<u8>().addr() as u64)
    }
}

/// The bus addresses a device can put on the bus: all those up to a last one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DmaMask(u64);

impl DmaMask {
    /// What a device may use before its driver said anything (rule 6 of the guide).
    pub const DEFAULT: Self = Self(u32::MAX as u64);

    /// Every 64-bit address.
    pub const ALL: Self = Self(u64::MAX);

    /// The mask of a device with `bits` address lines.
    ///
    /// # Errors
    /// [`AddrError::MaskBits`] unless `bits` is 1 to 64.
    pub const fn from_bits(bits: u32) -> Result<Self, AddrError> {
        match bits {
            1..=64 => Ok(Self(u64::MAX >> (64 - bits))),
            _ => Err(AddrError::MaskBits { bits }),
        }
    }

    /// The mask whose [`last`](Self::last) address is this.
    pub(crate) const fn whose_last_is(last: BusAddr) -> Self {
        Self(last.as_u64())
    }

    /// The narrowest mask that reaches `last`.
    pub const fn reaching(last: BusAddr) -> Self {
        match last.as_u64().leading_zeros() {
            64 => Self(1),
            zeros => Self(u64::MAX >> zeros),
        }
    }

    /// The same on a path that carries no address above `last`, which need not be a power of two less one.
    #[must_use]
    pub const fn narrowed_to(self, last: BusAddr) -> Self {
        match self.0 < last.as_u64() {
            true => self,
            false => Self(last.as_u64()),
        }
    }

    /// Number of address lines.
    pub const fn bits(self) -> u32 {
        64 - self.0.leading_zeros()
    }

    /// The highest address the device can reach.
    pub const fn last(self) -> BusAddr {
        BusAddr::new(self.0)
    }

    /// Whether the device can reach every byte of `range`.
    pub const fn covers(self, range: BusRange) -> bool {
        range.last().as_u64() <= self.0
    }
}

impl fmt::Debug for DmaMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits", self.bits())
    }
}

impl fmt::Display for DmaMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits ({:#x})", self.bits(), self.0)
    }
}

//! What a caller asks of the allocator.

use core::fmt;

use crate::addr::BusAddr;

/// A range a caller would like: how long, how aligned, how high at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRequest {
    /// Length in bytes, a multiple of the granule.
    pub len_bytes: u64,
    /// The first address is `offset` plus a multiple of two to this power. Below the granule it means nothing.
    pub align_log2: u32,
    /// See `align_log2`: with the offset of the memory in its large page, Z and Y can share large leaves. A
    /// multiple of the granule; only its bits below `align_log2` count.
    pub offset: u64,
    /// The lowest address the first byte may have.
    pub first: BusAddr,
    /// The highest address the last byte may have.
    pub last: BusAddr,
    /// No multiple of two to this power lies inside the range; 64 for no such boundary. Below the granule it can only be
    /// kept by no range at all.
    pub boundary_log2: u32,
}

impl IovaRequest {
    /// `len_bytes` anywhere.
    pub const fn new(len_bytes: u64) -> Self {
        Self {
            len_bytes,
            align_log2: 0,
            offset: 0,
            first: BusAddr::new(0),
            last: BusAddr::new(u64::MAX),
            boundary_log2: u64::BITS,
        }
    }

    /// Whether it is for one granule, whose bytes are `2^log2`, and whichever is within its limits.
    #[inline]
    pub(super) fn is_granule(&self, bytes: u64, log2: u32) -> bool {
        self.len_bytes == bytes && self.asks_no_more_than(log2)
    }

    /// Whether a range of `2^len_log2` bytes, at a multiple of that, is where it may be, limits aside.
    #[inline]
    pub(super) fn asks_no_more_than(&self, len_log2: u32) -> bool {
        self.align_log2 <= len_log2 && len_log2 <= self.boundary_log2 && self.offset == 0
    }

    /// The lowest address and the highest that the range may have, inclusive.
    #[inline]
    pub(super) fn limits(&self) -> (BusAddr, BusAddr) {
        (self.first, self.last)
    }

    /// The same, at `offset` from a multiple of `2^align_log2` bytes.
    #[must_use]
    pub const fn aligned(self, align_log2: u32, offset: u64) -> Self {
        Self {
            align_log2,
            offset,
            ..self
        }
    }

    /// The same, with no byte below `first`.
    #[must_use]
    pub const fn from(self, first: BusAddr) -> Self {
        Self { first, ..self }
    }

    /// The same, with no byte above `last`.
    #[must_use]
    pub const fn below(self, last: BusAddr) -> Self {
        Self { last, ..self }
    }

    /// The same, across no multiple of `2^boundary_log2` bytes.
    #[must_use]
    pub const fn within(self, boundary_log2: u32) -> Self {
        Self {
            boundary_log2,
            ..self
        }
    }
}

impl fmt::Display for IovaRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            len_bytes,
            align_log2,
            offset,
            first,
            last,
            boundary_log2,
        } = self;
        write!(f, "{len_bytes:#x} bytes")?;
        if *align_log2 > 0 {
            write!(f, " at {offset:#x} modulo 2^{align_log2}")?;
        }
        if first.as_u64() > 0 {
            write!(f, " from {first}")?;
        }
        if *boundary_log2 < u64::BITS {
            write!(f, " across no multiple of 2^{boundary_log2}")?;
        }
        write!(f, " up to {last}")
    }
}

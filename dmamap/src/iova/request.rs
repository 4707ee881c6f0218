//! What a caller asks of the allocator.

use core::fmt;

use crate::addr::BusAddr;

/// A range a caller would like: how long, how aligned, how high at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRequest {
    len_bytes: u64,
    align_log2: u32,
    boundary_log2: u32,
    offset: u64,
    first: BusAddr,
    last: BusAddr,
    /// What of the others is said in one number, as it is looked at for every range.
    shape: Shape,
}

/// What a request asks for, its limits aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape(u8);

impl Shape {
    /// More than a length says: its order lies beyond all there are.
    const OTHER: Self = Self(u8::MAX);
    /// Part of its block.
    const PART: u8 = 1 << 7;

    /// A block of `2^log2` bytes, all or part of it and more than half, at a multiple of no more than that, at no offset and with no
    /// boundary inside: what most requests are.
    const fn ordinary(log2: u32, is_whole: bool) -> Self {
        match is_whole {
            true => Self(log2 as u8),
            false => Self(log2 as u8 | Self::PART),
        }
    }

    /// Of a length that is no power of two.
    #[cold]
    const fn of_part(len_bytes: u64) -> Self {
        match len_bytes.checked_next_power_of_two() {
            Some(size) if len_bytes > 0 => Self::ordinary(size.trailing_zeros(), false),
            _ => Self::OTHER,
        }
    }

    const fn log2(self) -> u32 {
        (self.0 & !Self::PART) as u32
    }
}

impl IovaRequest {
    /// `len_bytes` anywhere. A multiple of the granule.
    #[inline]
    pub const fn new(len_bytes: u64) -> Self {
        Self {
            len_bytes,
            align_log2: 0,
            boundary_log2: u64::BITS,
            offset: 0,
            first: BusAddr::new(0),
            last: BusAddr::new(u64::MAX),
            shape: Shape::OTHER,
        }
        .shaped()
    }

    /// `len_bytes` at a multiple of that, or of the next power of two: whatever lies in it of a power of two of bytes is in one piece of that
    /// size and alignment, as large pages and ranges of invalidations are.
    ///
    /// ```
    /// # use dmamap::iova::IovaRequest;
    /// assert_eq!(IovaRequest::naturally_aligned(0x4000), IovaRequest::new(0x4000).aligned(14, 0));
    /// assert_eq!(IovaRequest::naturally_aligned(0x3000), IovaRequest::new(0x3000).aligned(14, 0));
    /// ```
    #[inline]
    pub const fn naturally_aligned(len_bytes: u64) -> Self {
        let (shape, align_log2) = match len_bytes.is_power_of_two() {
            true => {
                let log2 = len_bytes.trailing_zeros();
                (Shape::ordinary(log2, true), log2)
            }
            false => match Shape::of_part(len_bytes) {
                Shape::OTHER => (Shape::OTHER, 0),
                shape => (shape, shape.log2()),
            },
        };
        Self {
            len_bytes,
            align_log2,
            boundary_log2: u64::BITS,
            offset: 0,
            first: BusAddr::new(0),
            last: BusAddr::new(u64::MAX),
            shape,
        }
    }

    #[inline]
    const fn shaped(self) -> Self {
        let block = match self.len_bytes.is_power_of_two() {
            true => Shape::ordinary(self.len_bytes.trailing_zeros(), true),
            false => Shape::of_part(self.len_bytes),
        };
        let log2 = block.log2();
        let is_ordinary = self.align_log2 <= log2 && log2 <= self.boundary_log2 && self.offset == 0;
        let shape = match is_ordinary {
            true => block,
            false => Shape::OTHER,
        };
        Self { shape, ..self }
    }

    /// How many units of `2^unit_log2` bytes it is for, as a power of two, if that says all about it but its limits. Some number that is larger
    /// than any such power else.
    #[inline(always)]
    pub(super) const fn order_in(&self, unit_log2: u32) -> u32 {
        (self.shape.0 as u32).wrapping_sub(unit_log2)
    }

    /// The order of the units of `2^unit_log2` bytes that it is for, and their number: `2^order` of them, no fewer than the number, have room
    /// for it where they begin at a multiple of that. `None` where it is for no whole ones; some order that is larger than any there
    /// is where more is to be said about it.
    #[inline]
    pub(super) const fn size_in(&self, unit_log2: u32) -> Option<(u32, u64)> {
        let units = self.len_bytes >> (unit_log2 % u64::BITS);
        match units << (unit_log2 % u64::BITS) == self.len_bytes {
            true => Some((self.shape.log2().wrapping_sub(unit_log2), units)),
            false => None,
        }
    }

    /// The lowest address and the highest that the range may have, inclusive.
    #[inline]
    pub(super) const fn limits(&self) -> (BusAddr, BusAddr) {
        (self.first, self.last)
    }

    /// Length in bytes.
    #[inline]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The first address is [`offset`](Self::offset) plus a multiple of two to this power. Below the granule it means nothing.
    #[inline]
    pub const fn align_log2(&self) -> u32 {
        self.align_log2
    }

    /// See [`align_log2`](Self::align_log2); only its bits below that count.
    #[inline]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The lowest address the first byte may have.
    #[inline]
    pub const fn first(&self) -> BusAddr {
        self.first
    }

    /// The highest address the last byte may have.
    #[inline]
    pub const fn last(&self) -> BusAddr {
        self.last
    }

    /// No multiple of two to this power lies inside the range; 64 for no such boundary.
    #[inline]
    pub const fn boundary_log2(&self) -> u32 {
        self.boundary_log2
    }

    /// The same, at `offset` from a multiple of `2^align_log2` bytes: with the offset of the memory in its large page, Z and Y can
    /// share large leaves. The offset is a multiple of the granule.
    #[must_use]
    pub const fn aligned(self, align_log2: u32, offset: u64) -> Self {
        Self {
            align_log2,
            offset,
            ..self
        }
        .shaped()
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

    /// The same, across no multiple of `2^boundary_log2` bytes. Below the granule that can only be kept by no range at all.
    #[must_use]
    pub const fn within(self, boundary_log2: u32) -> Self {
        Self {
            boundary_log2,
            ..self
        }
        .shaped()
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
            shape: _,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Natural alignment is that of the next power of two, in whatever order a request is told what it asks for.
    #[test]
    fn a_request_is_what_it_asks_for_however_it_was_made() {
        let lens = (0..5000_u64).chain((12..64).flat_map(|log2| {
            let size = 1 << log2;
            [size - 1, size, size | 1]
        }));
        for len_bytes in lens {
            let align_log2 = match len_bytes.checked_next_power_of_two() {
                Some(size) if len_bytes > 0 => size.trailing_zeros(),
                _ => 0,
            };
            let plain = IovaRequest::new(len_bytes).aligned(align_log2, 0);
            assert_eq!(IovaRequest::naturally_aligned(len_bytes), plain, "{plain}");
            let back = plain.within(3).aligned(60, 1).within(u64::BITS);
            assert_eq!(back.aligned(align_log2, 0), plain, "{plain}");
        }
    }
}

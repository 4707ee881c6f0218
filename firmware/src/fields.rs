//! Bounds-checked reading of fields: the only place that indexes a table's bytes.

use alloc::string::String;
use core::ffi::CStr;

use crate::error::{Damage, TableError};
use crate::header::Signature;

/// Longest name that is read; they are copied for each use that a table makes of them.
const NAME_BYTES_MAX: usize = 1024;

/// Some bytes of a table, which know where in it they lie.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    signature: Signature,
    base: usize,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// All of `bytes` as table `signature`.
    pub(crate) fn new(signature: Signature, bytes: &'a [u8]) -> Self {
        Self {
            signature,
            base: 0,
            bytes,
        }
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The error that says `damage` of what lies at `at`.
    pub(crate) fn error(&self, at: usize, damage: Damage) -> TableError {
        TableError {
            signature: self.signature,
            offset: self.base + at,
            damage,
        }
    }

    /// The `len` bytes from `at` on.
    pub(crate) fn slice(&self, at: usize, len: usize) -> Result<Self, TableError> {
        let available = self.bytes.len().saturating_sub(at);
        let bytes = self
            .bytes
            .get(at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(self.error(
                at,
                Damage::Truncated {
                    needed: len,
                    available,
                },
            ))?;
        Ok(Self {
            signature: self.signature,
            base: self.base + at,
            bytes,
        })
    }

    /// The first `stated` bytes, a length that was read at `length_at` and cannot be below `least`.
    pub(crate) fn sized(
        &self,
        stated: usize,
        length_at: usize,
        least: usize,
    ) -> Result<Self, TableError> {
        if stated < least {
            return Err(self.error(length_at, Damage::LengthTooSmall { stated, least }));
        }
        self.slice(0, stated)
    }

    /// Where in the table the bytes lie.
    pub(crate) fn offset(&self) -> usize {
        self.base
    }

    /// The `count` entries of `size` bytes from `at` on, which means nothing if there are none.
    pub(crate) fn list(
        &self,
        at: usize,
        count: usize,
        size: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, TableError> {
        let at = if count == 0 { 0 } else { at };
        self.slice(at, count.saturating_mul(size))?.entries(0, size)
    }

    /// The bytes from `at` to the end.
    pub(crate) fn rest(&self, at: usize) -> Result<Self, TableError> {
        self.slice(at, self.bytes.len().saturating_sub(at))
    }

    pub(crate) fn u8(&self, at: usize) -> Result<u8, TableError> {
        Ok(self.array::<1>(at)?[0])
    }

    pub(crate) fn u16(&self, at: usize) -> Result<u16, TableError> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, at: usize) -> Result<u32, TableError> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self, at: usize) -> Result<u64, TableError> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// The 32-bit big-endian number at `at`, as devicetrees have them.
    pub(crate) fn be_u32(&self, at: usize) -> Result<u32, TableError> {
        self.array(at).map(u32::from_be_bytes)
    }

    /// The 64-bit big-endian number at `at`.
    pub(crate) fn be_u64(&self, at: usize) -> Result<u64, TableError> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// The big-endian number of `cells` 32-bit cells at `at`; it is 0 where it has none.
    pub(crate) fn be_cells(&self, at: usize, cells: u32) -> Result<u64, TableError> {
        match cells {
            0 => Ok(0),
            1 => self.be_u32(at).map(u64::from),
            2 => self.be_u64(at),
            _ => Err(self.error(at, Damage::BadCells { cells })),
        }
    }

    /// The register address at `at`: not 0 and a multiple of `align`, with `len_bytes` of address space from it on.
    pub(crate) fn register_base(
        &self,
        at: usize,
        align: u64,
        len_bytes: u64,
    ) -> Result<u64, TableError> {
        let address = self.u64(at)?;
        if address == 0 || !address.is_multiple_of(align) {
            return Err(self.error(at, Damage::BadAddress { address, align }));
        }
        self.last_of(at, address, len_bytes)?;
        Ok(address)
    }

    /// Last address of the `len_bytes` from `base` on, which was read at `at`.
    pub(crate) fn last_of(&self, at: usize, base: u64, len_bytes: u64) -> Result<u64, TableError> {
        len_bytes
            .checked_sub(1)
            .and_then(|more| base.checked_add(more))
            .ok_or(self.error(
                at,
                Damage::BadRange {
                    base,
                    last: base.wrapping_add(len_bytes).wrapping_sub(1),
                },
            ))
    }

    /// Checks that the `count` ids from `first` on, which was read at `at`, are a range.
    pub(crate) fn check_ids(&self, at: usize, first: u32, count: u64) -> Result<(), TableError> {
        if count == 0 || u64::from(first) + count > 1 << 32 {
            return Err(self.error(at, Damage::BadIds { first, count }));
        }
        Ok(())
    }

    /// The text up to the first zero byte, which must come within [`NAME_BYTES_MAX`].
    pub(crate) fn name(&self) -> Result<String, TableError> {
        let bytes = self.bytes.get(..NAME_BYTES_MAX).unwrap_or(self.bytes);
        CStr::from_bytes_until_nul(bytes)
            .ok()
            .and_then(|name| name.to_str().ok())
            .filter(|name| name.is_ascii())
            .map(String::from)
            .ok_or(self.error(0, Damage::BadName))
    }

    pub(crate) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], TableError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(at, N)?.bytes);
        Ok(array)
    }

    /// The entries of `size` bytes that fill the bytes from `at` to the end.
    pub(crate) fn entries(
        &self,
        at: usize,
        size: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, TableError> {
        let array = self.rest(at)?;
        if array.len() % size != 0 {
            let damage = Damage::RaggedArray {
                len_bytes: array.len(),
                entry_bytes: size,
            };
            return Err(self.error(at, damage));
        }
        Ok(array
            .bytes
            .chunks_exact(size)
            .enumerate()
            .map(move |(index, bytes)| Self {
                signature: array.signature,
                base: array.base + index * size,
                bytes,
            }))
    }

    /// Checks that the bytes add up to 0; an error points at `checksum_at`.
    pub(crate) fn check_sum(&self, checksum_at: usize) -> Result<(), TableError> {
        let sum = self
            .bytes
            .iter()
            .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        match sum {
            0 => Ok(()),
            sum => Err(self.error(checksum_at, Damage::Checksum { sum })),
        }
    }
}

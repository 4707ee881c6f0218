//! The header that every table but the RSDP starts with (ACPI 6.5, 5.2.6).

use core::fmt;

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// Four letters that name a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// Root system description pointer; in memory its signature is the eight bytes `RSD PTR `.
    pub const RSDP: Self = Self(*b"RSDP");
    /// Root system description table, with 32-bit addresses.
    pub const RSDT: Self = Self(*b"RSDT");
    /// Extended system description table, with 64-bit addresses.
    pub const XSDT: Self = Self(*b"XSDT");
    /// Memory-mapped configuration space.
    pub const MCFG: Self = Self(*b"MCFG");
    /// DMA remapping reporting (Intel VT-d).
    pub const DMAR: Self = Self(*b"DMAR");
    /// IO virtualization reporting (AMD-Vi).
    pub const IVRS: Self = Self(*b"IVRS");
    /// IO remapping (Arm).
    pub const IORT: Self = Self(*b"IORT");
    /// RISC-V IO mapping.
    pub const RIMT: Self = Self(*b"RIMT");
    /// Virtual IO translation (virtio-iommu).
    pub const VIOT: Self = Self(*b"VIOT");
    /// Stands for a devicetree in errors; it is no ACPI table.
    pub const DEVICETREE: Self = Self(*b"DTB ");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 36;

/// Longest table that is read; the length field could say 4 GiB.
pub(crate) const TABLE_BYTES_MAX: usize = 1 << 20;

const LENGTH_AT: usize = 4;
const CHECKSUM_AT: usize = 9;

/// Checks signature and length in the header of table `expected`, which starts `bytes` and cannot be shorter than
/// `least`, and gives the length of the whole table.
pub(crate) fn table_len(
    expected: Signature,
    least: usize,
    bytes: &[u8],
) -> Result<usize, TableError> {
    let header = Fields::new(expected, bytes).slice(0, HEADER_BYTES)?;
    let found = Signature(header.array(0)?);
    if found != expected {
        return Err(header.error(0, Damage::WrongSignature { expected, found }));
    }
    let stated = header.u32(LENGTH_AT)? as usize;
    if stated < least {
        return Err(header.error(LENGTH_AT, Damage::LengthTooSmall { stated, least }));
    }
    if stated > TABLE_BYTES_MAX {
        let damage = Damage::LengthTooLarge {
            stated,
            most: TABLE_BYTES_MAX,
        };
        return Err(header.error(LENGTH_AT, damage));
    }
    Ok(stated)
}

/// Checks header and sum of table `expected`, which starts `bytes` and cannot be shorter than `least`, and gives the
/// table's own bytes.
pub(crate) fn verified(
    expected: Signature,
    least: usize,
    bytes: &[u8],
) -> Result<Fields<'_>, TableError> {
    let len = table_len(expected, least, bytes)?;
    let table = Fields::new(expected, bytes).slice(0, len)?;
    table.check_sum(CHECKSUM_AT)?;
    Ok(table)
}

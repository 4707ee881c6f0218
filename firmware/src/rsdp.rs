//! The root system description pointer: where the list of tables lies (ACPI 6.5, 5.2.5.3).

use crate::error::{Damage, Error, TableError};
use crate::fields::Fields;
use crate::header::Signature;
use crate::memory::PhysicalMemory;

/// The root system description pointer.
///
/// ```
/// use firmware::{Root, Rsdp};
///
/// let mut bytes = [0; 36];
/// bytes[..8].copy_from_slice(b"RSD PTR ");
/// bytes[15] = 2;
/// bytes[20] = 36;
/// bytes[24..32].copy_from_slice(&0x7fe0_0000u64.to_le_bytes());
/// let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
/// bytes[8] = sum(&bytes[..20]);
/// bytes[32] = sum(&bytes);
/// assert_eq!(Rsdp::parse(&bytes)?.root, Root::Xsdt(0x7fe0_0000));
/// # Ok::<(), firmware::TableError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rsdp {
    /// Revision: 0 in ACPI 1.0, 2 in all later ones.
    pub revision: u8,
    /// Who made the tables.
    pub oem_id: [u8; 6],
    /// Where the list of tables lies.
    pub root: Root,
}

/// The list of tables, by its physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// List of 32-bit addresses: all that ACPI 1.0 has.
    Rsdt(u64),
    /// List of 64-bit addresses; used where there is one.
    Xsdt(u64),
}

impl Rsdp {
    /// Bytes that ACPI 1.0 defines; the first checksum covers them.
    pub const BYTES_V1: usize = 20;
    /// Bytes that ACPI 2.0 and later define.
    pub const BYTES: usize = 36;

    /// Most bytes accepted: a later version may add to the structure.
    const BYTES_MAX: usize = 256;

    const CHECKSUM_AT: usize = 8;
    const REVISION_AT: usize = 15;
    const RSDT_AT: usize = 16;
    const LENGTH_AT: usize = 20;
    const XSDT_AT: usize = 24;
    const EXTENDED_CHECKSUM_AT: usize = 32;

    /// Reads the pointer at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the bytes are too few, bear another signature, do not add up, or name no list.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let all = Fields::new(Signature::RSDP, bytes);
        let first = all.slice(0, Self::BYTES_V1)?;
        let [a, b, c, d, rest @ ..] = first.array::<8>(0)?;
        if ([a, b, c, d], rest) != (*b"RSD ", *b"PTR ") {
            let found = Signature([a, b, c, d]);
            let damage = Damage::WrongSignature {
                expected: Signature::RSDP,
                found,
            };
            return Err(first.error(0, damage));
        }
        first.check_sum(Self::CHECKSUM_AT)?;
        let revision = first.u8(Self::REVISION_AT)?;
        let mut root = Root::Rsdt(first.u32(Self::RSDT_AT)?.into());
        if revision >= 2 {
            let stated = all.u32(Self::LENGTH_AT)? as usize;
            if stated < Self::BYTES {
                let damage = Damage::LengthTooSmall {
                    stated,
                    least: Self::BYTES,
                };
                return Err(all.error(Self::LENGTH_AT, damage));
            }
            if stated > Self::BYTES_MAX {
                let damage = Damage::LengthTooLarge {
                    stated,
                    most: Self::BYTES_MAX,
                };
                return Err(all.error(Self::LENGTH_AT, damage));
            }
            let whole = all.slice(0, stated)?;
            whole.check_sum(Self::EXTENDED_CHECKSUM_AT)?;
            let xsdt = whole.u64(Self::XSDT_AT)?;
            if xsdt != 0 {
                root = Root::Xsdt(xsdt);
            }
        }
        if root == Root::Rsdt(0) {
            return Err(all.error(Self::RSDT_AT, Damage::NoRootTable));
        }
        Ok(Self {
            revision,
            oem_id: first.array(9)?,
            root,
        })
    }
    /// Reads the pointer at physical address `phys`: no more of memory than it takes up.
    pub(crate) fn read<M: PhysicalMemory + ?Sized>(phys: u64, memory: &M) -> Result<Self, Error> {
        let signature = Signature::RSDP;
        let read = |into: &mut [u8]| {
            memory
                .read(phys, into)
                .map_err(|source| Error::OutsideMemory {
                    signature,
                    phys,
                    source,
                })
        };
        let damaged = |error| Error::Damaged { phys, error };
        let mut bytes = [0; Self::BYTES_MAX];
        let mut len = Self::BYTES_V1;
        read(&mut bytes[..len])?;
        if bytes[Self::REVISION_AT] >= 2 {
            len = Self::BYTES;
            read(&mut bytes[..len])?;
            let stated = Fields::new(signature, &bytes)
                .u32(Self::LENGTH_AT)
                .map_err(damaged)?;
            if stated as usize > len {
                len = (stated as usize).min(Self::BYTES_MAX);
                read(&mut bytes[..len])?;
            }
        }
        Self::parse(&bytes[..len]).map_err(damaged)
    }
}

//! The tables firmware leaves in memory (ACPI specification 6.5, chapter 5; DMAR: VT-d specification, chapter 8; IVRS:
//! 48882, chapter 5; IORT: Arm DEN 0049).
//!
//! Written here from scratch, and read by the crate `firmware`, which shares no line with this one.

mod dmar;
mod iort;
mod ivrs;
mod mcfg;
mod rimt;
mod table;
mod viot;

pub(crate) use dmar::{Device, Dmar, ReservedMemory, Scope, Unit};
pub(crate) use iort::{CoherenceOverride, Iort, RmrTable};
pub(crate) use ivrs::{Ivrs, UnityMemory};
pub(crate) use mcfg::mcfg;
pub(crate) use rimt::rimt;
pub(crate) use viot::Viot;

use table::{checksum, table};

/// Length of the root pointer of revision 2 (table 5.3).
const RSDP_BYTES: usize = 36;

/// Tables start at multiples of this.
const ALIGNMENT: usize = 64;

/// The image of all tables for memory at `phys`: the root pointer first, then the XSDT, then `tables`.
pub(crate) fn image(phys: u64, tables: &[Vec<u8>]) -> Vec<u8> {
    let xsdt_at = RSDP_BYTES.next_multiple_of(ALIGNMENT);
    let xsdt_len = table::HEADER_BYTES + 8 * tables.len();
    let mut at = (xsdt_at + xsdt_len).next_multiple_of(ALIGNMENT);
    let mut pointers = Vec::new();
    let mut placed = Vec::new();
    for table in tables {
        pointers.extend((phys + at as u64).to_le_bytes());
        placed.push((at, table));
        at = (at + table.len()).next_multiple_of(ALIGNMENT);
    }

    let mut image = vec![0; at];
    image[..RSDP_BYTES].copy_from_slice(&rsdp(phys + xsdt_at as u64));
    image[xsdt_at..xsdt_at + xsdt_len].copy_from_slice(&table(*b"XSDT", 1, &pointers));
    for (at, table) in placed {
        image[at..at + table.len()].copy_from_slice(table);
    }
    image
}

/// The root pointer (table 5.3): the first 20 bytes are revision 0's, with a checksum of their own.
fn rsdp(xsdt: u64) -> [u8; RSDP_BYTES] {
    let mut rsdp = [0; RSDP_BYTES];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(&table::OEM_ID);
    rsdp[15] = 2;
    rsdp[20..24].copy_from_slice(&(RSDP_BYTES as u32).to_le_bytes());
    rsdp[24..32].copy_from_slice(&xsdt.to_le_bytes());
    rsdp[8] = checksum(&rsdp[..20]);
    rsdp[32] = checksum(&rsdp);
    rsdp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    fn u64_at(bytes: &[u8], at: usize) -> usize {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    }

    #[test]
    fn every_table_is_found_from_the_root_pointer_and_sums_to_zero() {
        let phys = 0x7fff_0000;
        let image = image(
            phys as u64,
            &[mcfg(0xe000_0000, 0, 255), table(*b"TEST", 3, &[1, 2, 3])],
        );
        assert_eq!(&image[..8], b"RSD PTR ");
        assert_eq!((sum(&image[..20]), sum(&image[..36])), (0, 0));
        let xsdt = &image[u64_at(&image, 24) - phys..];
        let xsdt = &xsdt[..u32_at(xsdt, 4)];
        assert_eq!((&xsdt[..4], sum(xsdt)), (&b"XSDT"[..], 0));
        assert_eq!(xsdt.len(), 36 + 2 * 8);
        let signatures = [44, 36].map(|at| {
            let table = &image[u64_at(xsdt, at) - phys..];
            let table = &table[..u32_at(table, 4)];
            assert_eq!(sum(table), 0);
            table[..4].to_vec()
        });
        assert_eq!(signatures, [b"TEST", b"MCFG"]);
    }
}

//! RIMT: the RISC-V IOMMU and the requesters it translates for (RISC-V IO Mapping Table, version 1.0).

use super::table::{HEADER_BYTES, table};

/// Node types.
const IOMMU: u8 = 0;
const PCI_ROOT_COMPLEX: u8 = 1;

/// ACPI id of an IOMMU that is no PCI function.
const PLATFORM_IOMMU: [u8; 8] = *b"RSCV0004";

/// Bytes between the header and the first node: their number, where they begin, and a reserved field.
const NODES_AT: usize = HEADER_BYTES + 12;

/// Every requester id of a segment.
const ALL_REQUESTERS: u32 = 0x1_0000;

/// The table for one unit with its registers at `registers`, which translates for all of segment 0: a requester's
/// device id is its requester id.
pub(crate) fn rimt(registers: u64) -> Vec<u8> {
    let mut iommu = PLATFORM_IOMMU.to_vec();
    iommu.extend(registers.to_le_bytes());
    iommu.extend(0_u32.to_le_bytes()); // flags: neither a PCI function nor a proximity domain
    iommu.extend(0_u32.to_le_bytes()); // proximity domain
    iommu.extend([0; 4]); // PCI segment, bus, device and function
    iommu.extend([0; 4]); // interrupt wires: how many, and where

    let mut root_complex = 0_u32.to_le_bytes().to_vec(); // flags: neither ATS nor page requests
    root_complex.extend(0_u16.to_le_bytes());
    root_complex.extend(0_u16.to_le_bytes()); // segment
    root_complex.extend(20_u16.to_le_bytes()); // where the mappings are
    root_complex.extend(1_u16.to_le_bytes()); // how many
    root_complex.extend(0_u32.to_le_bytes()); // first requester
    root_complex.extend(ALL_REQUESTERS.to_le_bytes());
    root_complex.extend(0_u32.to_le_bytes()); // its device id
    root_complex.extend((NODES_AT as u32).to_le_bytes()); // the unit's node
    root_complex.extend(0_u32.to_le_bytes()); // flags

    let mut body = 2_u32.to_le_bytes().to_vec();
    body.extend((NODES_AT as u32).to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    body.extend(node(IOMMU, &iommu));
    body.extend(node(PCI_ROOT_COMPLEX, &root_complex));
    table(*b"RIMT", 1, &body)
}

/// A node of this type; its id is unique among those of its type.
fn node(kind: u8, fields: &[u8]) -> Vec<u8> {
    let len = (8 + fields.len()) as u16;
    let mut node = vec![kind, 1];
    node.extend(len.to_le_bytes());
    node.extend(0_u16.to_le_bytes());
    node.extend(0_u16.to_le_bytes()); // id
    node.extend(fields);
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_laid_out_as_the_specification_says() {
        let expected: &[u8] = &[
            2, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, //
            0, 1, 40, 0, 0, 0, 0, 0, // IOMMU
            b'R', b'S', b'C', b'V', b'0', b'0', b'0', b'4', //
            0, 0, 0x90, 0xfe, 0, 0, 0, 0, //
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
            1, 1, 40, 0, 0, 0, 0, 0, // PCI root complex
            0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 1, 0, //
            0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, // all requesters
        ];
        assert_eq!(&rimt(0xfe90_0000)[36..], expected);
    }
}

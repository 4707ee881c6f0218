//! VIOT: a virtio-iommu and the endpoints behind it (ACPI 6.5, section 5.2.32).

use super::table::{HEADER_BYTES, table};

/// Node types (table 5.84).
const PCI_RANGE: u8 = 1;
const VIRTIO_IOMMU_MMIO: u8 = 4;

/// Bytes before the first node: number and offset of the nodes, 8 reserved.
const NODES: u16 = HEADER_BYTES as u16 + 12;
const UNIT_BYTES: u16 = 16;
const PCI_RANGE_BYTES: u16 = 24;

/// The whole table: one unit in the memory map, and all functions of segment 0 behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viot {
    /// Physical address of the unit's registers.
    pub(crate) registers: u64,
    /// The endpoint id of requester 0.
    pub(crate) first_endpoint: u32,
}

impl Viot {
    /// The table's bytes.
    pub(crate) fn into_table(self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(2_u16.to_le_bytes());
        body.extend(NODES.to_le_bytes());
        body.extend([0; 8]);
        body.extend(self.unit());
        body.extend(self.functions());
        table(*b"VIOT", 0, &body)
    }

    fn unit(self) -> Vec<u8> {
        let mut fields = vec![0; 4];
        fields.extend(self.registers.to_le_bytes());
        node(VIRTIO_IOMMU_MMIO, UNIT_BYTES, &fields)
    }

    fn functions(self) -> Vec<u8> {
        let mut fields = self.first_endpoint.to_le_bytes().to_vec();
        fields.extend([0; 4]); // the first and the last segment
        fields.extend(0_u16.to_le_bytes());
        fields.extend(u16::MAX.to_le_bytes());
        fields.extend(NODES.to_le_bytes()); // the unit's node
        fields.extend([0; 6]);
        node(PCI_RANGE, PCI_RANGE_BYTES, &fields)
    }
}

fn node(kind: u8, len_bytes: u16, fields: &[u8]) -> Vec<u8> {
    let mut node = vec![kind, 0];
    node.extend(len_bytes.to_le_bytes());
    node.extend(fields);
    debug_assert_eq!(node.len(), usize::from(len_bytes));
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_laid_out_as_the_manual_says() {
        let table = Viot {
            registers: 0xfe80_0000,
            first_endpoint: 0x1_0000,
        }
        .into_table();
        let expected: &[u8] = &[
            2, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
            4, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xfe, 0, 0, 0, 0, // the unit
            1, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 48, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&table[36..], expected);
    }
}

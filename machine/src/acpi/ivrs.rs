//! IVRS: an AMD-Vi unit for all devices, and memory that stays mapped (48882, chapter 5).

use super::table::table;

/// Block types: a unit with its feature register; memory of one device.
const IVHD: u8 = 0x11;
const IVMD_ONE: u8 = 0x21;

/// IVHD flag: the unit's walks are coherent.
const COHERENT: u8 = 1 << 5;
/// IVMD flags: mapped at its own address, for reads and writes.
const UNITY_READ_WRITE: u8 = 0b111;

/// Device entry for every device.
const ALL: u8 = 1;

/// The whole table.
#[derive(Clone, Debug)]
pub(crate) struct Ivrs {
    /// Width of physical addresses.
    pub(crate) host_address_bits: u8,
    /// Physical address of the unit's registers.
    pub(crate) registers: u64,
    /// Whether its walks snoop.
    pub(crate) coherent: bool,
    /// What its feature register says.
    pub(crate) features: u64,
    /// Memory that devices firmware left running use from boot on.
    pub(crate) unity: Vec<UnityMemory>,
}

/// Memory that one device uses at its own address.
#[derive(Clone, Debug)]
pub(crate) struct UnityMemory {
    pub(crate) device: u16,
    pub(crate) base: u64,
    pub(crate) len_bytes: u64,
}

/// The unit's own function, 00:00.2, and where its capability would be; the function is not there.
const UNIT_FUNCTION: u16 = 2;
const CAPABILITY: u16 = 0x40;

impl Ivrs {
    /// The table's bytes.
    pub(crate) fn into_table(self) -> Vec<u8> {
        // Features are reported in IVHD blocks; 64 bits of bus addresses.
        let info = 1 | u32::from(self.host_address_bits) << 8 | 64 << 15;
        let mut body = info.to_le_bytes().to_vec();
        body.extend([0; 8]);
        body.extend(self.unit());
        for memory in &self.unity {
            body.extend(memory.block());
        }
        table(*b"IVRS", 2, &body)
    }

    fn unit(&self) -> Vec<u8> {
        let flags = if self.coherent { COHERENT } else { 0 };
        let mut fields = Vec::new();
        fields.extend(UNIT_FUNCTION.to_le_bytes());
        fields.extend(CAPABILITY.to_le_bytes());
        fields.extend(self.registers.to_le_bytes());
        fields.extend(0_u16.to_le_bytes()); // segment
        fields.extend(0_u16.to_le_bytes()); // message number, unit id
        fields.extend(0_u32.to_le_bytes()); // attributes
        fields.extend(self.features.to_le_bytes());
        fields.extend([0; 8]);
        fields.extend([ALL, 0, 0, 0]);
        block(IVHD, flags, &fields)
    }
}

impl UnityMemory {
    fn block(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.extend(self.device.to_le_bytes());
        fields.extend([0; 2]);
        fields.extend([0; 8]);
        fields.extend(self.base.to_le_bytes());
        fields.extend(self.len_bytes.to_le_bytes());
        block(IVMD_ONE, UNITY_READ_WRITE, &fields)
    }
}

fn block(kind: u8, flags: u8, fields: &[u8]) -> Vec<u8> {
    let len = 4 + fields.len();
    let mut block = vec![kind, flags];
    block.extend((len as u16).to_le_bytes());
    block.extend(fields);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_laid_out_as_the_manual_says() {
        let ivrs = Ivrs {
            host_address_bits: 46,
            registers: 0xfeb8_0000,
            coherent: true,
            features: 0x0123_4567_89ab_cdef,
            unity: vec![UnityMemory {
                device: 0x28,
                base: 0x7000,
                len_bytes: 0x2000,
            }],
        };
        let table = ivrs.into_table();
        let expected: &[u8] = &[
            0x01, 0x2e, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, // virtualization info
            0x11, 0x20, 44, 0, 2, 0, 0x40, 0, 0, 0, 0xb8, 0xfe, 0, 0, 0, 0, // IVHD
            0, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, //
            0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, // its devices: all
            0x21, 7, 32, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // IVMD
            0, 0x70, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!((&table[..4], table[8]), (&b"IVRS"[..], 2));
        assert_eq!(&table[36..], expected);
    }
}

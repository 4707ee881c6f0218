//! IORT: the SMMUs, how they name the devices of a root complex, and memory that stays mapped (IO Remapping Table,
//! Arm DEN 0049, revision E).

use super::table::table;
use crate::cache::Snooping;

/// Node types (table 3).
const ROOT_COMPLEX: u8 = 2;
const SMMU_V3: u8 = 4;
const RESERVED_MEMORY: u8 = 6;

/// Bytes of the table before its nodes, header and all.
const NODES_AT: usize = 48;
/// Bytes of a node before what is its own.
const NODE_BYTES: usize = 16;
/// A mapping of a single id.
const SINGLE: u32 = 1;
/// `COHACC` override in an SMMU's flags.
const COHERENT: u32 = 1;
/// Requester ids of a segment.
const REQUESTERS: u32 = 0x1_0000;

/// Memory that a device uses from boot on (RMR).
#[derive(Clone, Debug)]
pub(crate) struct RmrTable {
    pub(crate) base: u64,
    pub(crate) len_bytes: u64,
    /// Requester id of the device.
    pub(crate) requester: u16,
}

/// What firmware says of the SMMU's walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoherenceOverride {
    /// Its own register counts.
    None,
    /// They are coherent, whatever the register says.
    Coherent,
}

/// The whole table: one SMMU for all devices of segment 0.
#[derive(Clone, Debug)]
pub(crate) struct Iort {
    /// Where the SMMU's registers are.
    pub(crate) registers: u64,
    pub(crate) coherence: CoherenceOverride,
    /// What it calls requester 0; the others follow.
    pub(crate) first_stream: u32,
    /// Bits of the addresses that the root complex passes on.
    pub(crate) address_bits: u8,
    /// Whether requests of the devices see the CPU's caches.
    pub(crate) devices: Snooping,
    pub(crate) reserved: Vec<RmrTable>,
}

/// Ids of a node, and what the SMMU calls them.
struct Mapping {
    first: u32,
    count: u32,
    to: u32,
    flags: u32,
}

impl Iort {
    /// The table's bytes.
    pub(crate) fn into_table(self) -> Vec<u8> {
        // The SMMU comes first, so that its place is known to those who refer to it.
        let mut nodes = vec![self.smmu(), self.root_complex()];
        nodes.extend(
            self.reserved
                .iter()
                .enumerate()
                .map(|(index, reserved)| reserved.node(2 + index as u32, self.first_stream)),
        );
        let mut body = Vec::new();
        body.extend((nodes.len() as u32).to_le_bytes());
        body.extend((NODES_AT as u32).to_le_bytes());
        body.extend([0; 4]);
        body.extend(nodes.into_iter().flatten());
        table(*b"IORT", 5, &body)
    }

    fn smmu(&self) -> Vec<u8> {
        let flags = match self.coherence {
            CoherenceOverride::None => 0,
            CoherenceOverride::Coherent => COHERENT,
        };
        let mut own = Vec::new();
        own.extend(self.registers.to_le_bytes());
        own.extend(flags.to_le_bytes());
        own.extend([0; 4]);
        own.extend([0; 8]); // no VATOS page
        own.extend([0; 4]); // no model in particular
        own.extend([0; 16]); // interrupts are messages
        own.extend([0; 8]); // no proximity domain, no mapping of its own
        node(SMMU_V3, 4, 0, &own, &[])
    }

    fn root_complex(&self) -> Vec<u8> {
        let mut own = Vec::new();
        // Whether its requests are coherent (CCA); no hints; whether the path to memory is (CPM).
        let coherent = u8::from(self.devices == Snooping::On);
        own.extend(u32::from(coherent).to_le_bytes());
        own.extend([0, 0, 0, coherent]);
        own.extend(0_u32.to_le_bytes()); // no ATS
        own.extend(0_u32.to_le_bytes()); // segment
        own.extend([self.address_bits, 0, 0, 0]);
        own.extend([0; 4]);
        let all = Mapping {
            first: 0,
            count: REQUESTERS,
            to: self.first_stream,
            flags: 0,
        };
        node(ROOT_COMPLEX, 4, 1, &own, &[all])
    }
}

impl RmrTable {
    fn node(&self, id: u32, first_stream: u32) -> Vec<u8> {
        const RANGES_AT: u32 = 28;
        let mut own = Vec::new();
        own.extend(0_u32.to_le_bytes()); // it must stay where it is
        own.extend(1_u32.to_le_bytes());
        own.extend(RANGES_AT.to_le_bytes());
        own.extend(self.base.to_le_bytes());
        own.extend(self.len_bytes.to_le_bytes());
        own.extend([0; 4]);
        let one = Mapping {
            first: 0,
            count: 1,
            to: first_stream + u32::from(self.requester),
            flags: SINGLE,
        };
        node(RESERVED_MEMORY, 3, id, &own, &[one])
    }
}

/// A node with what is its own, and its mappings, all of them to the first node.
fn node(kind: u8, revision: u8, id: u32, own: &[u8], mappings: &[Mapping]) -> Vec<u8> {
    const MAPPING_BYTES: usize = 20;
    let mappings_at = NODE_BYTES + own.len();
    let len_bytes = mappings_at + MAPPING_BYTES * mappings.len();
    let mut node = vec![kind];
    node.extend((len_bytes as u16).to_le_bytes());
    node.push(revision);
    node.extend(id.to_le_bytes());
    node.extend((mappings.len() as u32).to_le_bytes());
    node.extend((mappings_at as u32).to_le_bytes());
    node.extend(own);
    for mapping in mappings {
        node.extend(mapping.first.to_le_bytes());
        node.extend((mapping.count - 1).to_le_bytes());
        node.extend(mapping.to.to_le_bytes());
        node.extend((NODES_AT as u32).to_le_bytes());
        node.extend(mapping.flags.to_le_bytes());
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets and values typed from the manual's tables.
    #[test]
    fn nodes_lie_where_the_manual_says() {
        let table = Iort {
            registers: 0xfea0_0000,
            coherence: CoherenceOverride::Coherent,
            first_stream: 0x200,
            address_bits: 44,
            devices: Snooping::On,
            reserved: vec![RmrTable {
                base: 0x7ffe_0000,
                len_bytes: 0x2000,
                requester: 0x28,
            }],
        }
        .into_table();
        let u32_at = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
        assert_eq!(
            (&table[..4], u32_at(4) as usize),
            (&b"IORT"[..], table.len())
        );
        assert_eq!((u32_at(36), u32_at(40)), (3, 48));
        // The SMMU.
        assert_eq!((table[48], table[49], table[51]), (4, 68, 4));
        assert_eq!((u64_at(48 + 16), u32_at(48 + 24)), (0xfea0_0000, 1));
        // The root complex, and its mapping.
        let root = 48 + 68;
        assert_eq!((table[root], table[root + 1]), (2, 60));
        assert_eq!((u32_at(root + 8), u32_at(root + 12)), (1, 40));
        assert_eq!((u32_at(root + 16), table[root + 23]), (1, 1));
        assert_eq!(table[root + 32], 44);
        let mapping = [0, 4, 8, 12, 16].map(|at| u32_at(root + 40 + at));
        assert_eq!(mapping, [0, 0xffff, 0x200, 48, 0]);
        // The reserved memory, its range and its mapping.
        let rmr = root + 60;
        assert_eq!((table[rmr], table[rmr + 1]), (6, 68));
        assert_eq!((u32_at(rmr + 20), u32_at(rmr + 24)), (1, 28));
        assert_eq!((u64_at(rmr + 28), u64_at(rmr + 36)), (0x7ffe_0000, 0x2000));
        let mapping = [0, 4, 8, 12, 16].map(|at| u32_at(rmr + 48 + at));
        assert_eq!(mapping, [0, 0, 0x228, 48, 1]);
        assert_eq!(table.len(), rmr + 68);
    }
}

//! IORT: Arm's IOMMUs and what is wired to them (IO Remapping Table, Arm DEN 0049, issue E).
//!
//! The table is a graph: root complexes and other devices map the ids of their requests onto the ids that the
//! nodes above them know, SMMUs and interrupt translation services. Nodes of types that are not read here keep
//! their place in the graph as [`NodeKind::Other`].
//!
//! ```
//! use firmware::iort::{Iort, NodeKind};
//!
//! // What QEMU gives an Arm board with `-machine virt,iommu=smmuv3`.
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/virt-smmuv3.iort.bin"));
//! let iort = Iort::parse(bytes)?;
//! let [smmu, root_complex] = iort.nodes() else { panic!() };
//! let NodeKind::SmmuV3(registers) = &smmu.kind else { panic!() };
//! assert_eq!(registers.register_base, 0x905_0000);
//! // The root complex is wired to node 0, the SMMU.
//! assert_eq!((root_complex.mappings[0].first, root_complex.mappings[0].to), (0, 0));
//! assert_eq!(iort.description().assignments.len(), 1);
//! # Ok::<(), firmware::TableError>(())
//! ```

mod describe;
mod mapping;
mod node;
mod smmu;

use alloc::vec::Vec;

pub use mapping::IdMapping;
pub use node::{MemoryAccess, NamedComponent, Node, NodeKind, Rmr, RmrRange, RootComplex};
pub use smmu::{Smmu, SmmuModel, SmmuV3};

use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::{Signature, verified};

/// The IORT table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iort {
    nodes: Vec<Node>,
}

impl Iort {
    const COUNT_AT: usize = 36;
    const NODES_OFFSET_AT: usize = 40;
    const HEADER_BYTES: usize = 48;

    /// Most combinations of reserved range, stream and device; real tables have some hundreds.
    const RESERVED_MAX: usize = 1 << 20;

    /// The highest address that root complexes of PCI segment `segment` pass on to memory (IORT E, table 16, "memory
    /// address size limit"); `None` where the table does not say or they pass all. Of several the narrowest: a segment
    /// does not tell which of them a device is behind.
    pub fn bus_limit(&self, segment: u16) -> Option<u64> {
        let limits = self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::RootComplex(root) if root.segment == segment => Some(root.address_bits),
            _ => None,
        });
        let bits = limits
            .filter(|bits| (1..u64::BITS as u8).contains(bits))
            .min()?;
        Some((1 << bits) - 1)
    }

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table or one of its nodes is damaged or refers to what is not there.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::IORT, Self::HEADER_BYTES, bytes)?;
        let count = table.u32(Self::COUNT_AT)? as usize;
        let first = table.u32(Self::NODES_OFFSET_AT)? as usize;
        if first < Self::HEADER_BYTES || first > table.len() {
            let to = first as u64;
            return Err(table.error(Self::NODES_OFFSET_AT, Damage::BadReference { to }));
        }
        let mut rest = table.rest(first)?;
        let mut fields = Vec::new();
        for _ in 0..count {
            let node = node::first(&rest)?;
            rest = rest.rest(node.len())?;
            fields.push(node);
        }
        let offsets: Vec<usize> = fields.iter().map(Fields::offset).collect();
        let nodes = fields
            .iter()
            .map(|fields| Node::parse(fields, &offsets))
            .collect::<Result<Vec<_>, _>>()?;
        let iort = Self { nodes };
        iort.check_units(&fields)?;
        iort.check_size(&table)?;
        Ok(iort)
    }

    fn check_units(&self, fields: &[Fields<'_>]) -> Result<(), TableError> {
        let mut known: Vec<(u64, usize)> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            match &node.kind {
                NodeKind::Smmu(smmu) => known.push((smmu.register_base, number)),
                NodeKind::SmmuV3(smmu) => known.push((smmu.register_base, number)),
                _ => {}
            }
        }
        known.sort_unstable();
        for pair in known.windows(2) {
            if let [(register_base, _), (again, number)] = *pair
                && register_base == again
                && let Some(node) = fields.get(number)
            {
                return Err(node.error(smmu::BASE_AT, Damage::DuplicateUnit { register_base }));
            }
        }
        Ok(())
    }

    /// Keeps [`Self::description`] from growing with the third power of the table's length.
    fn check_size(&self, table: &Fields<'_>) -> Result<(), TableError> {
        let (mut wires, mut reserved) = (0usize, 0usize);
        for node in &self.nodes {
            match &node.kind {
                NodeKind::Rmr(rmr) => {
                    let each = rmr.ranges.len().saturating_mul(node.mappings.len());
                    reserved = reserved.saturating_add(each);
                }
                // Names are copied.
                NodeKind::NamedComponent(component) => {
                    let weight = 1 + component.name.len() / 64;
                    wires = wires.saturating_add(node.mappings.len().saturating_mul(weight));
                }
                _ => wires = wires.saturating_add(node.mappings.len()),
            }
        }
        let stated = wires.saturating_mul(reserved);
        if stated > Self::RESERVED_MAX {
            let most = Self::RESERVED_MAX;
            return Err(table.error(Self::COUNT_AT, Damage::TooMany { stated, most }));
        }
        Ok(())
    }

    /// All nodes, in the order of the table, which numbers them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The PCI root complexes: a segment may have several.
    ///
    /// ```
    /// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/virt-smmuv3.iort.bin"));
    /// let table = firmware::Iort::parse(bytes)?;
    /// assert!(table.root_complexes().all(|root| root.segment == 0 && root.memory.coherent));
    /// # Ok::<(), firmware::TableError>(())
    /// ```
    pub fn root_complexes(&self) -> impl Iterator<Item = &RootComplex> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::RootComplex(root) => Some(root),
            _ => None,
        })
    }
}

//! RIMT: RISC-V's IOMMUs and what is wired to them (RISC-V IO Mapping Table, version 1).
//!
//! Nodes of types that a later version may add are passed over.
//!
//! ```
//! use firmware::rimt::{Rimt, Place};
//!
//! // What QEMU gives a RISC-V board with `-machine virt,iommu-sys=on`.
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/virt-riscv-iommu-sys.rimt.bin"));
//! let rimt = Rimt::parse(bytes)?;
//! assert_eq!(rimt.iommus()[0].place, Place::Registers(0x301_0000));
//! // All 65536 requester ids of segment 0 are wired to it.
//! let root_complex = &rimt.root_complexes()[0];
//! let wires = &root_complex.mappings[0];
//! assert_eq!((root_complex.segment, wires.first, wires.count, wires.iommu), (0, 0, 65536, 0));
//! # Ok::<(), firmware::TableError>(())
//! ```

mod describe;
mod node;

use alloc::vec::Vec;

pub use node::{IdMapping, Iommu, Place, Platform, RootComplex, Wire};

use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::{Signature, verified};

/// The RIMT table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rimt {
    iommus: Vec<Iommu>,
    root_complexes: Vec<RootComplex>,
    platforms: Vec<Platform>,
}

impl Rimt {
    const COUNT_AT: usize = 36;
    const NODES_OFFSET_AT: usize = 40;
    const HEADER_BYTES: usize = 48;

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table or one of its nodes is damaged or refers to what is not there.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::RIMT, Self::HEADER_BYTES, bytes)?;
        let count = table.u32(Self::COUNT_AT)? as usize;
        let first = table.u32(Self::NODES_OFFSET_AT)? as usize;
        if first < Self::HEADER_BYTES || first > table.len() {
            let to = first as u64;
            return Err(table.error(Self::NODES_OFFSET_AT, Damage::BadReference { to }));
        }
        let mut rest = table.rest(first)?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            let node = node::first(&rest)?;
            rest = rest.rest(node.len())?;
            nodes.push(node);
        }
        let mut rimt = Self::default();
        let iommus: Vec<Fields<'_>> = nodes
            .iter()
            .filter(|node| node.u8(0) == Ok(node::IOMMU))
            .copied()
            .collect();
        for fields in &iommus {
            rimt.add_iommu(fields)?;
        }
        let offsets: Vec<usize> = iommus.iter().map(Fields::offset).collect();
        for node in &nodes {
            match node.u8(0)? {
                node::ROOT_COMPLEX => rimt
                    .root_complexes
                    .push(RootComplex::parse(node, &offsets)?),
                node::PLATFORM => rimt.platforms.push(Platform::parse(node, &offsets)?),
                _ => {}
            }
        }
        Ok(rimt)
    }

    fn add_iommu(&mut self, node: &Fields<'_>) -> Result<(), TableError> {
        let iommu = Iommu::parse(node)?;
        if self.iommus.iter().any(|other| other.place == iommu.place) {
            let register_base = match iommu.place {
                Place::Registers(phys) => phys,
                Place::Function { requester, .. } => requester.into(),
            };
            return Err(node.error(node::BASE_AT, Damage::DuplicateUnit { register_base }));
        }
        self.iommus.push(iommu);
        Ok(())
    }

    /// All IOMMUs, in the order of the table. No two of them are at the same place.
    pub fn iommus(&self) -> &[Iommu] {
        &self.iommus
    }

    /// All PCI root complexes.
    pub fn root_complexes(&self) -> &[RootComplex] {
        &self.root_complexes
    }

    /// All devices that are not on PCI.
    pub fn platforms(&self) -> &[Platform] {
        &self.platforms
    }
}

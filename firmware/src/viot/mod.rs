//! VIOT: virtio-iommus and the endpoints behind each (ACPI 6.5, 5.2.34).
//!
//! Nodes of types that a later version may add are passed over.
//!
//! ```
//! use firmware::viot::{Place, Viot};
//!
//! // What QEMU gives a q35 board with `-device virtio-iommu-pci`.
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/q35-virtio-iommu.viot.bin"));
//! let viot = Viot::parse(bytes)?;
//! assert_eq!(viot.iommus(), [Place::Function { segment: 0, requester: 0x0008 }]);
//! let range = viot.pci_ranges()[0];
//! assert_eq!((range.first, range.last, range.endpoint, range.iommu), (0, 0x00ff, 0, 0));
//! // All of bus 0, but for the IOMMU in its midst, which does not translate for itself.
//! assert_eq!(viot.description().assignments.len(), 2);
//! # Ok::<(), firmware::TableError>(())
//! ```

mod describe;
mod node;

use alloc::vec::Vec;

pub use node::{MmioEndpoint, PciRange, Place};

use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::{Signature, verified};

/// The VIOT table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viot {
    iommus: Vec<Place>,
    pci_ranges: Vec<PciRange>,
    mmio_endpoints: Vec<MmioEndpoint>,
}

impl Viot {
    const COUNT_AT: usize = 36;
    const NODES_OFFSET_AT: usize = 38;
    const HEADER_BYTES: usize = 48;

    /// Bytes of the virtio-mmio registers of an IOMMU.
    pub const REGISTERS: u64 = 512;

    /// Most segments of all PCI ranges together.
    const SEGMENTS_MAX: usize = 1 << 16;

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table or one of its nodes is damaged or refers to what is not there.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::VIOT, Self::HEADER_BYTES, bytes)?;
        let first = usize::from(table.u16(Self::NODES_OFFSET_AT)?);
        if first < Self::HEADER_BYTES || first > table.len() {
            let to = first as u64;
            return Err(table.error(Self::NODES_OFFSET_AT, Damage::BadReference { to }));
        }
        let mut rest = table.rest(first)?;
        let mut nodes = Vec::new();
        for _ in 0..table.u16(Self::COUNT_AT)? {
            let node = node::first(&rest)?;
            rest = rest.rest(node.len())?;
            nodes.push(node);
        }
        let mut viot = Self::default();
        let mut offsets = Vec::new();
        for node in &nodes {
            if let Some(place) = Place::parse(node)? {
                viot.add_iommu(node, place)?;
                offsets.push(node.offset());
            }
        }
        for node in &nodes {
            viot.add_endpoints(node, &offsets)?;
        }
        let segments = |range: &PciRange| usize::from(range.last_segment - range.first_segment) + 1;
        let stated = viot.pci_ranges.iter().map(segments).sum();
        if stated > Self::SEGMENTS_MAX {
            let most = Self::SEGMENTS_MAX;
            return Err(table.error(Self::COUNT_AT, Damage::TooMany { stated, most }));
        }
        Ok(viot)
    }

    fn add_iommu(&mut self, node: &Fields<'_>, place: Place) -> Result<(), TableError> {
        if self.iommus.contains(&place) {
            let register_base = match place {
                Place::Registers(phys) => phys,
                Place::Function { requester, .. } => requester.into(),
            };
            return Err(node.error(0, Damage::DuplicateUnit { register_base }));
        }
        self.iommus.push(place);
        Ok(())
    }

    fn add_endpoints(&mut self, node: &Fields<'_>, iommus: &[usize]) -> Result<(), TableError> {
        match node.u8(0)? {
            node::PCI_RANGE => self.pci_ranges.push(PciRange::parse(node, iommus)?),
            node::MMIO_ENDPOINT => self.mmio_endpoints.push(MmioEndpoint::parse(node, iommus)?),
            _ => {}
        }
        Ok(())
    }

    /// All virtio-iommus, in the order of the table. No two of them are at the same place.
    pub fn iommus(&self) -> &[Place] {
        &self.iommus
    }

    /// PCI devices behind them.
    pub fn pci_ranges(&self) -> &[PciRange] {
        &self.pci_ranges
    }

    /// Devices that are not on PCI behind them.
    pub fn mmio_endpoints(&self) -> &[MmioEndpoint] {
        &self.mmio_endpoints
    }
}

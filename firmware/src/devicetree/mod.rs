//! Devicetrees: IOMMUs, the devices behind each, PCI host bridges, memory and what is reserved of it (Devicetree
//! Specification 0.4; the bindings `iommu`, `pci-iommu`, `pci-host-ecam-generic`, `reserved-memory` and
//! `shared-dma-pool`).
//!
//! The blob is read here and not by one of the published crates: an error is to name the byte that is wrong, a
//! tree is to be refused for damage only (boards in use have names longer than the specification's 31 letters,
//! which `dtoolkit` does not take), addresses must be translated from the leaf up, and no tree may make reading slow.
//!
//! ```
//! use firmware::{Devicetree, Devices, Stream, UnitPlace};
//!
//! // What QEMU gives an Arm board with `-machine virt,iommu=smmuv3`.
//! # let blob = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/virt-smmuv3.dtb"));
//! let tree = Devicetree::parse(blob)?;
//! let described = tree.iommus()?;
//! let place = UnitPlace::Registers { phys: 0x905_0000, len_bytes: 0x2_0000 };
//! assert_eq!(described.units[0].place, place);
//! let all = Devices::Requesters { segment: 0, first: 0, last: 0xffff };
//! assert_eq!(described.assignments[0].devices, all);
//! assert_eq!(described.assignments[0].stream, Stream::From(0));
//!
//! let bridge = &tree.host_bridges()?[0];
//! assert_eq!((bridge.ecam_phys, bridge.last_bus), (0x40_1000_0000, 255));
//! assert_eq!(tree.memory()?[0].base, 0x4000_0000);
//! # Ok::<(), firmware::TableError>(())
//! ```

mod address;
mod blob;
mod device_memory;
mod host_bridge;
mod iommu;
mod iommu_map;
mod memory;
mod node;
mod reserved;

use alloc::vec::Vec;

pub use device_memory::{DeviceMemory, Purpose};
pub use host_bridge::{DmaRange, HostBridge, Space, Window};
pub use memory::MemoryRange;
pub use reserved::{BusRange, ReservedMemory};

use crate::error::TableError;

/// A devicetree.
#[derive(Clone, Debug)]
pub struct Devicetree<'a> {
    /// In the order of the blob: parents come before their children, the root first.
    nodes: Vec<node::Node<'a>>,
    /// Phandles and their nodes, sorted.
    phandles: Vec<(u32, usize)>,
    reservations: Vec<MemoryRange>,
}

impl<'a> Devicetree<'a> {
    /// Reads the blob at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the blob is damaged. What its properties say is not looked at yet: each method tells its own.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        let blob = blob::Blob::parse(bytes)?;
        let mut tree = Self {
            nodes: blob.nodes,
            phandles: Vec::new(),
            reservations: blob.reservations,
        };
        for (number, node) in tree.nodes.iter().enumerate() {
            if let Some(phandle) = node.property("phandle") {
                tree.phandles.push((phandle.cell(0)?, number));
            }
        }
        tree.phandles.sort_unstable();
        Ok(tree)
    }

    /// The blob's own list of reserved memory, which is older than the node `reserved-memory`.
    pub fn reservations(&self) -> &[MemoryRange] {
        &self.reservations
    }
}

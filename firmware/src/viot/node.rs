//! Nodes of the table, one reader each.

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// Where a virtio-iommu is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its virtio-mmio registers lie at this physical address.
    Registers(u64),
    /// It is a PCI function.
    Function {
        /// PCI segment.
        segment: u16,
        /// Requester id.
        requester: u16,
    },
}

/// PCI devices behind one virtio-iommu: requester ids `first` to `last` of each of some segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciRange {
    /// Endpoint id of `first` in `first_segment`. Those of the other devices are as much greater as their requester
    /// ids are, and by 65536 per segment.
    pub endpoint: u32,
    /// First PCI segment.
    pub first_segment: u16,
    /// Last PCI segment, inclusive.
    pub last_segment: u16,
    /// First requester id.
    pub first: u16,
    /// Last requester id, inclusive.
    pub last: u16,
    /// Number of the unit, an index into [`iommus`](super::Viot::iommus).
    pub iommu: usize,
}

/// A device that is not on PCI behind a virtio-iommu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioEndpoint {
    /// Its endpoint id.
    pub endpoint: u32,
    /// Physical address of its registers, by which it is known.
    pub base: u64,
    /// Number of the unit, an index into [`iommus`](super::Viot::iommus).
    pub iommu: usize,
}

pub(super) const PCI_RANGE: u8 = 1;
pub(super) const MMIO_ENDPOINT: u8 = 2;
const IOMMU_PCI: u8 = 3;
const IOMMU_MMIO: u8 = 4;

/// Bytes that all nodes start with.
const PREFIX_BYTES: usize = 4;

/// The node at the start of `rest`, cut to its stated length.
pub(super) fn first<'a>(rest: &Fields<'a>) -> Result<Fields<'a>, TableError> {
    let stated = rest.slice(0, PREFIX_BYTES)?.u16(2)?;
    rest.sized(stated.into(), 2, PREFIX_BYTES)
}

impl Place {
    const BYTES: usize = 16;

    /// The IOMMU that `node` is; `None` if it is something else.
    pub(super) fn parse(node: &Fields<'_>) -> Result<Option<Self>, TableError> {
        let whole = || node.sized(node.len(), 2, Self::BYTES);
        Ok(match node.u8(0)? {
            IOMMU_PCI => Some(Self::Function {
                segment: whole()?.u16(4)?,
                requester: whole()?.u16(6)?,
            }),
            IOMMU_MMIO => {
                let base = whole()?.register_base(8, 4, super::Viot::REGISTERS)?;
                Some(Self::Registers(base))
            }
            _ => None,
        })
    }
}

impl PciRange {
    const BYTES: usize = 24;

    pub(super) fn parse(node: &Fields<'_>, iommus: &[usize]) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 2, Self::BYTES)?;
        let range = Self {
            endpoint: node.u32(4)?,
            first_segment: node.u16(8)?,
            last_segment: node.u16(10)?,
            first: node.u16(12)?,
            last: node.u16(14)?,
            iommu: iommu(&node, iommus)?,
        };
        for (at, first, last) in [
            (8, range.first_segment, range.last_segment),
            (12, range.first, range.last),
        ] {
            if last < first {
                let first = first.into();
                return Err(node.error(at, Damage::BadIds { first, count: 0 }));
            }
        }
        let segments = u64::from(range.last_segment - range.first_segment);
        let requesters = u64::from(range.last - range.first) + 1;
        node.check_ids(4, range.endpoint, (segments << 16) + requesters)?;
        Ok(range)
    }
}

impl MmioEndpoint {
    const BYTES: usize = 24;

    pub(super) fn parse(node: &Fields<'_>, iommus: &[usize]) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 2, Self::BYTES)?;
        Ok(Self {
            endpoint: node.u32(4)?,
            base: node.u64(8)?,
            iommu: iommu(&node, iommus)?,
        })
    }
}

/// The number of the IOMMU that an endpoint node refers to; `iommus` has the offsets of all, in order.
fn iommu(node: &Fields<'_>, iommus: &[usize]) -> Result<usize, TableError> {
    let to = node.u16(16)?;
    iommus
        .binary_search(&to.into())
        .map_err(|_| node.error(16, Damage::BadReference { to: to.into() }))
}

//! Nodes of the table, one reader each.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// An IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iommu {
    /// A number that is unique among IOMMUs.
    pub id: u16,
    /// ACPI id of the hardware, or vendor and device of the PCI function.
    pub hardware_id: [u8; 8],
    /// Where it is.
    pub place: Place,
    /// The node of memory and processors it is close to.
    pub proximity_domain: Option<u32>,
    /// Its interrupts that are wired to the CPU, by number of the interrupt cause they serve.
    pub wires: Vec<Wire>,
}

/// Where an IOMMU is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its registers lie at this physical address, a multiple of 4 KiB.
    Registers(u64),
    /// It is a PCI function.
    Function {
        /// PCI segment.
        segment: u16,
        /// Requester id.
        requester: u16,
    },
}

/// An interrupt that is wired to the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Its number among all of the machine.
    pub gsi: u32,
    /// It is raised by a level, not an edge.
    pub level: bool,
    /// It is raised by a high level or a rising edge.
    pub active_high: bool,
}

/// A PCI root complex. Its ids are requester ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootComplex {
    /// A number that is unique among root complexes.
    pub id: u16,
    /// It supports address translation services.
    pub ats: bool,
    /// It supports page requests.
    pub page_requests: bool,
    /// PCI segment.
    pub segment: u16,
    /// What IOMMUs know its ids by.
    pub mappings: Vec<IdMapping>,
}

/// A device that is not on PCI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// A number that is unique among such devices.
    pub id: u16,
    /// Path in the ACPI namespace.
    pub name: String,
    /// What IOMMUs know its ids by.
    pub mappings: Vec<IdMapping>,
}

/// A range of ids of one node, and what an IOMMU knows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// First of the node's ids.
    pub first: u32,
    /// Number of ids; at least one.
    pub count: u32,
    /// What the IOMMU knows the first id by; the others follow it.
    pub device_id: u32,
    /// Number of the IOMMU, an index into [`iommus`](super::Rimt::iommus).
    pub iommu: usize,
    /// The devices work only with address translation services enabled.
    pub ats_required: bool,
    /// The devices work only with page requests enabled.
    pub page_requests_required: bool,
}

pub(super) const IOMMU: u8 = 0;
pub(super) const ROOT_COMPLEX: u8 = 1;
pub(super) const PLATFORM: u8 = 2;

/// Bytes that all nodes start with.
const PREFIX_BYTES: usize = 8;
const ID_AT: usize = 6;
pub(super) const BASE_AT: usize = 16;

/// The node at the start of `rest`, cut to its stated length.
pub(super) fn first<'a>(rest: &Fields<'a>) -> Result<Fields<'a>, TableError> {
    let stated = rest.slice(0, PREFIX_BYTES)?.u16(2)?;
    rest.sized(stated.into(), 2, PREFIX_BYTES)
}

impl Iommu {
    /// Bytes of the register set.
    pub const REGISTERS: u64 = 4096;

    const BYTES: usize = 40;
    const WIRE_BYTES: usize = 8;

    pub(super) fn parse(node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 2, Self::BYTES)?;
        let flags = node.u32(24)?;
        let place = match flags & 1 {
            0 => Place::Registers(node.register_base(BASE_AT, 4096, Self::REGISTERS)?),
            _ => Place::Function {
                segment: node.u16(32)?,
                requester: node.u16(34)?,
            },
        };
        let count = usize::from(node.u16(36)?);
        let wires = node
            .list(node.u16(38)?.into(), count, Self::WIRE_BYTES)?
            .map(|wire| Wire::parse(&wire))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id: node.u16(ID_AT)?,
            hardware_id: node.array(8)?,
            place,
            proximity_domain: match flags & 2 {
                0 => None,
                _ => Some(node.u32(28)?),
            },
            wires,
        })
    }
}

impl Wire {
    fn parse(wire: &Fields<'_>) -> Result<Self, TableError> {
        let flags = wire.u32(4)?;
        Ok(Self {
            gsi: wire.u32(0)?,
            level: flags & 1 != 0,
            active_high: flags & 2 != 0,
        })
    }
}

impl RootComplex {
    const BYTES: usize = 20;

    pub(super) fn parse(node: &Fields<'_>, iommus: &[usize]) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 2, Self::BYTES)?;
        let flags = node.u32(8)?;
        Ok(Self {
            id: node.u16(ID_AT)?,
            ats: flags & 1 != 0,
            page_requests: flags & 2 != 0,
            segment: node.u16(14)?,
            mappings: IdMapping::all(&node, node.u16(16)?, node.u16(18)?, iommus)?,
        })
    }
}

impl Platform {
    const NAME_AT: usize = 12;

    pub(super) fn parse(node: &Fields<'_>, iommus: &[usize]) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 2, Self::NAME_AT + 1)?;
        Ok(Self {
            id: node.u16(ID_AT)?,
            name: node.rest(Self::NAME_AT)?.name()?,
            mappings: IdMapping::all(&node, node.u16(8)?, node.u16(10)?, iommus)?,
        })
    }
}

impl IdMapping {
    const BYTES: usize = 20;

    /// The `count` mappings at `at` of `node`; `iommus` has the offsets of all IOMMUs, in order.
    fn all(
        node: &Fields<'_>,
        at: u16,
        count: u16,
        iommus: &[usize],
    ) -> Result<Vec<Self>, TableError> {
        node.list(at.into(), count.into(), Self::BYTES)?
            .map(|entry| Self::parse(&entry, iommus))
            .collect()
    }

    fn parse(entry: &Fields<'_>, iommus: &[usize]) -> Result<Self, TableError> {
        let (first, count, device_id) = (entry.u32(0)?, entry.u32(4)?, entry.u32(8)?);
        entry.check_ids(0, first, count.into())?;
        entry.check_ids(8, device_id, count.into())?;
        let to = entry.u32(12)?;
        let flags = entry.u32(16)?;
        Ok(Self {
            first,
            count,
            device_id,
            iommu: iommus
                .binary_search(&(to as usize))
                .map_err(|_| entry.error(12, Damage::BadReference { to: to.into() }))?,
            ats_required: flags & 1 != 0,
            page_requests_required: flags & 2 != 0,
        })
    }
}

//! Nodes of the graph, one reader each.

use alloc::string::String;
use alloc::vec::Vec;

use super::mapping::{self, IdMapping};
use super::smmu::{Smmu, SmmuV3};
use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A number that is unique in the table from revision 5 on, else 0.
    pub id: u32,
    /// Revision of the node's type.
    pub revision: u8,
    /// What the nodes above know this node's ids by.
    pub mappings: Vec<IdMapping>,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A group of interrupt translation services, by their ids in the MADT.
    ItsGroup(Vec<u32>),
    /// A device that is not on PCI.
    NamedComponent(NamedComponent),
    /// A PCI root complex.
    RootComplex(RootComplex),
    /// An SMMU of version 1 or 2.
    Smmu(Smmu),
    /// An SMMUv3.
    SmmuV3(SmmuV3),
    /// Memory that must stay reachable for the streams of its mappings.
    Rmr(Rmr),
    /// Something else, by its type: performance counters are 5.
    Other(u8),
}

/// How the requests of a device meet the CPU's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// They see them.
    pub coherent: bool,
    /// Hints: transient, write allocate, read allocate and override in bits 0 to 3.
    pub hints: u8,
    /// The path to memory is coherent (bit 0); device attributes are cacheable and inner-shareable (bit 1).
    pub flags: u8,
}

/// A device that is not on PCI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedComponent {
    /// How its requests meet caches.
    pub memory: MemoryAccess,
    /// Bits of the addresses it can make.
    pub address_bits: u8,
    /// Path in the ACPI namespace.
    pub name: String,
}

/// A PCI root complex. Its ids are requester ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootComplex {
    /// How requests of its devices meet caches.
    pub memory: MemoryAccess,
    /// It supports address translation services.
    pub ats: bool,
    /// PCI segment.
    pub segment: u16,
    /// Bits of the addresses it passes on; 0 in revisions before 1, which do not say.
    pub address_bits: u8,
}

/// Reserved memory ranges. The node's mappings say for which streams of which SMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rmr {
    /// The devices can be made to use other addresses.
    pub remapping_permitted: bool,
    /// They make privileged requests.
    pub privileged: bool,
    /// The ranges.
    pub ranges: Vec<RmrRange>,
}

/// A range of reserved memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RmrRange {
    /// First physical address; a multiple of 4 KiB.
    pub base: u64,
    /// Last physical address, inclusive; one below a multiple of 4 KiB.
    pub last: u64,
}

/// Bytes that all nodes start with.
const PREFIX_BYTES: usize = 16;
const PAGE_BYTES: u64 = 4096;

/// The node at the start of `rest`, cut to its stated length.
pub(super) fn first<'a>(rest: &Fields<'a>) -> Result<Fields<'a>, TableError> {
    let stated = rest.slice(0, PREFIX_BYTES)?.u16(1)?;
    rest.sized(stated.into(), 1, PREFIX_BYTES)
}

impl Node {
    /// The node in `fields`; `nodes` has the offsets of all, in order.
    pub(super) fn parse(fields: &Fields<'_>, nodes: &[usize]) -> Result<Self, TableError> {
        let revision = fields.u8(3)?;
        let kind = match fields.u8(0)? {
            0 => NodeKind::ItsGroup(its_group(fields)?),
            1 => NodeKind::NamedComponent(NamedComponent::parse(fields)?),
            2 => NodeKind::RootComplex(RootComplex::parse(revision, fields)?),
            3 => NodeKind::Smmu(Smmu::parse(fields)?),
            4 => NodeKind::SmmuV3(SmmuV3::parse(fields)?),
            6 => NodeKind::Rmr(Rmr::parse(fields)?),
            other => NodeKind::Other(other),
        };
        Ok(Self {
            id: fields.u32(4)?,
            revision,
            // What a later type does with its mappings is unknown.
            mappings: match kind {
                NodeKind::Other(_) => Vec::new(),
                _ => mapping::all(fields, nodes)?,
            },
            kind,
        })
    }
}

fn its_group(node: &Fields<'_>) -> Result<Vec<u32>, TableError> {
    let node = node.sized(node.len(), 1, 20)?;
    node.list(20, node.u32(16)? as usize, 4)?
        .map(|id| id.u32(0))
        .collect()
}

impl MemoryAccess {
    fn parse(node: &Fields<'_>, at: usize) -> Result<Self, TableError> {
        Ok(Self {
            coherent: node.u32(at)? == 1,
            hints: node.u8(at + 4)?,
            flags: node.u8(at + 7)?,
        })
    }
}

impl NamedComponent {
    const NAME_AT: usize = 29;

    fn parse(node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 1, Self::NAME_AT + 1)?;
        Ok(Self {
            memory: MemoryAccess::parse(&node, 20)?,
            address_bits: node.u8(28)?,
            name: node.rest(Self::NAME_AT)?.name()?,
        })
    }
}

impl RootComplex {
    const BYTES: usize = 32;
    const ADDRESS_BITS_AT: usize = 32;

    fn parse(revision: u8, node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 1, Self::BYTES)?;
        let segment = node.u32(28)?;
        Ok(Self {
            memory: MemoryAccess::parse(&node, 16)?,
            ats: node.u32(24)? & 1 != 0,
            segment: segment
                .try_into()
                .map_err(|_| node.error(28, Damage::BadSegment { segment }))?,
            address_bits: match revision {
                0 => 0,
                _ => node.u8(Self::ADDRESS_BITS_AT)?,
            },
        })
    }
}

impl Rmr {
    const BYTES: usize = 28;
    const RANGE_BYTES: usize = 20;

    fn parse(node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 1, Self::BYTES)?;
        let flags = node.u32(16)?;
        let count = node.u32(20)? as usize;
        let ranges = node
            .list(node.u32(24)? as usize, count, Self::RANGE_BYTES)?
            .map(|range| RmrRange::parse(&range))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            remapping_permitted: flags & 1 != 0,
            privileged: flags & 2 != 0,
            ranges,
        })
    }
}

impl RmrRange {
    fn parse(range: &Fields<'_>) -> Result<Self, TableError> {
        let base = range.u64(0)?;
        let last = range.last_of(8, base, range.u64(8)?)?;
        if base % PAGE_BYTES != 0 || last % PAGE_BYTES != PAGE_BYTES - 1 {
            return Err(range.error(0, Damage::BadRange { base, last }));
        }
        Ok(Self { base, last })
    }
}

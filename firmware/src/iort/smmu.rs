//! SMMUs, the nodes that are units.

use crate::error::TableError;
use crate::fields::Fields;

/// An SMMU of version 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smmu {
    /// Physical address of its registers; a multiple of 4 KiB.
    pub register_base: u64,
    /// Bytes of its register set.
    pub register_len: u64,
    /// Who built it: the manual's model number.
    pub model: u32,
    /// Its walks see the CPU's caches.
    pub coherent_walks: bool,
}

/// An SMMUv3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmmuV3 {
    /// Physical address of its registers; a multiple of 64 KiB.
    pub register_base: u64,
    /// Its walks see the CPU's caches, whatever its register `IDR0.COHACC` says.
    pub coherent_override: bool,
    /// What stands in for `IDR0.HTTU`; 0 if the register counts.
    pub httu_override: u8,
    /// Which one it is, as far as its faults need to be known.
    pub model: SmmuModel,
    /// Interrupt of the event queue, of those wired to the CPU; 0 if it is message-signaled.
    pub event_gsiv: u32,
    /// Interrupt of the page request queue; 0 likewise.
    pub pri_gsiv: u32,
    /// Interrupt of global errors; 0 likewise.
    pub error_gsiv: u32,
    /// Interrupt of completed synchronisation; 0 likewise.
    pub sync_gsiv: u32,
    /// The node of memory and processors it is close to.
    pub proximity_domain: Option<u32>,
}

/// Implementations of SMMUv3 that the table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmmuModel {
    /// None in particular.
    Generic,
    /// HiSilicon Hi161x.
    HisiliconHi161x,
    /// Cavium CN99xx.
    CaviumCn99xx,
    /// One that a later issue of the manual names.
    Other(u32),
}

pub(super) const BASE_AT: usize = 16;

impl Smmu {
    const BYTES: usize = 60;

    pub(super) fn parse(node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 1, Self::BYTES)?;
        let register_len = node.u64(24)?;
        Ok(Self {
            register_base: node.register_base(BASE_AT, 4096, register_len)?,
            register_len,
            model: node.u32(32)?,
            coherent_walks: node.u32(36)? & 2 != 0,
        })
    }
}

impl SmmuV3 {
    /// Bytes of register pages 0 and 1.
    pub const REGISTERS: u64 = 128 << 10;

    /// Bytes of a node of revision 0, which has no proximity domain.
    const BYTES: usize = 60;
    const PROXIMITY_AT: usize = 60;
    const PROXIMITY_VALID: u32 = 1 << 3;

    pub(super) fn parse(node: &Fields<'_>) -> Result<Self, TableError> {
        let node = node.sized(node.len(), 1, Self::BYTES)?;
        let flags = node.u32(24)?;
        let proximity_domain = match flags & Self::PROXIMITY_VALID {
            0 => None,
            _ => Some(node.u32(Self::PROXIMITY_AT)?),
        };
        Ok(Self {
            register_base: node.register_base(BASE_AT, 64 << 10, Self::REGISTERS)?,
            coherent_override: flags & 1 != 0,
            httu_override: (flags >> 1 & 3) as u8,
            model: match node.u32(40)? {
                0 => SmmuModel::Generic,
                1 => SmmuModel::HisiliconHi161x,
                2 => SmmuModel::CaviumCn99xx,
                other => SmmuModel::Other(other),
            },
            event_gsiv: node.u32(44)?,
            pri_gsiv: node.u32(48)?,
            error_gsiv: node.u32(52)?,
            sync_gsiv: node.u32(56)?,
            proximity_domain,
        })
    }
}

//! One unit: an IVHD block of type 10h, 11h or 40h (5.2.2).

use alloc::vec::Vec;

use super::entry::{self, DeviceEntry};
use crate::error::TableError;
use crate::fields::Fields;

/// Types of blocks that describe a unit, from the poorest to the richest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockType {
    /// Type 10h: the first.
    Type10,
    /// Type 11h: with the unit's feature registers.
    Type11,
    /// Type 40h: with devices found in the ACPI namespace only.
    Type40,
}

impl BlockType {
    pub(super) fn of(code: u8) -> Option<Self> {
        match code {
            0x10 => Some(Self::Type10),
            0x11 => Some(Self::Type11),
            0x40 => Some(Self::Type40),
            _ => None,
        }
    }

    /// Where the device entries start.
    fn entries_at(self) -> usize {
        match self {
            Self::Type10 => 24,
            Self::Type11 | Self::Type40 => 40,
        }
    }
}

/// One AMD IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The block that says all this.
    pub block_type: BlockType,
    /// How to set up the unit.
    pub flags: UnitFlags,
    /// Its own requester id, as a PCI function.
    pub requester: u16,
    /// Offset of its capability in its configuration space.
    pub capability_offset: u16,
    /// Physical address of its registers; a multiple of 16 KiB.
    pub register_base: u64,
    /// PCI segment of itself and its devices.
    pub segment: u16,
    /// Message number of its interrupt in bits 4:0, unit number in 12:8.
    pub info: u16,
    /// Feature reporting of type 10h, attributes of the others: counters in bits 16:13, banks of counters in
    /// 22:17; the other bits of type 10h are a choice of the features.
    pub attributes: u32,
    /// Its extended feature register; type 10h does not have it.
    pub features: Option<u64>,
    /// Its second extended feature register; type 10h does not have it.
    pub features2: Option<u64>,
    /// Its devices.
    pub entries: Vec<DeviceEntry>,
}

/// How firmware asks a unit to be set up (5.2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitFlags(pub u8);

impl UnitFlags {
    /// HyperTransport tunnel translation.
    pub const fn tunnel(self) -> bool {
        self.0 & 1 != 0
    }

    /// Posted writes may pass.
    pub const fn pass_posted_writes(self) -> bool {
        self.0 & 2 != 0
    }

    /// Responses may pass posted writes.
    pub const fn responses_pass_posted_writes(self) -> bool {
        self.0 & 4 != 0
    }

    /// Requests of the unit are isochronous.
    pub const fn isochronous(self) -> bool {
        self.0 & 8 != 0
    }

    /// Devices may keep translations.
    pub const fn device_caches(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Walks are to see the CPU's caches. Without it they still do once the driver asks for it in the unit's
    /// control register.
    pub const fn coherent(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The unit can prefetch translations.
    pub const fn prefetch(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// The unit takes requests for pages.
    pub const fn page_requests(self) -> bool {
        self.0 & 0x80 != 0
    }
}

pub(super) const BASE_AT: usize = 8;

impl Unit {
    const REGISTERS: u64 = 16 << 10;
    const REGISTERS_WITH_COUNTERS: u64 = 512 << 10;

    /// Performance counters, in the extended features.
    const COUNTERS_SUPPORTED: u64 = 1 << 9;
    const COUNTERS: u32 = 0xf << 13;
    const COUNTER_BANKS: u32 = 0x3f << 17;

    pub(super) fn parse(block_type: BlockType, block: &Fields<'_>) -> Result<Self, TableError> {
        let entries_at = block_type.entries_at();
        let block = block.sized(block.len(), 2, entries_at)?;
        let registers = |at| match block_type {
            BlockType::Type10 => Ok(None),
            BlockType::Type11 | BlockType::Type40 => block.u64(at).map(Some),
        };
        let mut unit = Self {
            block_type,
            flags: UnitFlags(block.u8(1)?),
            requester: block.u16(4)?,
            capability_offset: block.u16(6)?,
            register_base: 0,
            segment: block.u16(16)?,
            info: block.u16(18)?,
            attributes: block.u32(20)?,
            features: registers(24)?,
            features2: registers(32)?,
            entries: entry::all(&block.rest(entries_at)?)?,
        };
        unit.register_base = block.register_base(BASE_AT, Self::REGISTERS, unit.register_len())?;
        Ok(unit)
    }

    /// Bytes of its register set: 512 KiB with performance counters, else 16 KiB (3.4).
    pub fn register_len(&self) -> u64 {
        let counters = match self.features {
            Some(features) => features & Self::COUNTERS_SUPPORTED != 0,
            None => {
                self.attributes & Self::COUNTERS != 0 && self.attributes & Self::COUNTER_BANKS != 0
            }
        };
        if counters {
            Self::REGISTERS_WITH_COUNTERS
        } else {
            Self::REGISTERS
        }
    }
}

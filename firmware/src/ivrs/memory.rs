//! Memory that is special for some devices: IVMD blocks (5.2.3).

use crate::error::{Damage, TableError};
use crate::fields::Fields;

/// Memory that must stay reachable for devices, or that their requests reach untranslated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBlock {
    /// The devices.
    pub devices: Named,
    /// PCI segment of the devices.
    pub segment: u16,
    /// What is special about it.
    pub flags: MemoryFlags,
    /// First physical address; a multiple of 4 KiB.
    pub base: u64,
    /// Last physical address, inclusive; one below a multiple of 4 KiB.
    pub last: u64,
}

/// The devices of a memory block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// All of the segment.
    All,
    /// Requester ids, both ends included.
    Range {
        /// First requester id.
        first: u16,
        /// Last requester id.
        last: u16,
    },
}

/// What is special about a memory block (5.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFlags(pub u8);

impl MemoryFlags {
    /// It must be mapped at equal bus addresses.
    pub const fn unity(self) -> bool {
        self.0 & 1 != 0
    }

    /// Devices read it.
    pub const fn read(self) -> bool {
        self.0 & 2 != 0
    }

    /// Devices write it.
    pub const fn write(self) -> bool {
        self.0 & 4 != 0
    }

    /// Requests to it are to pass the unit untranslated.
    pub const fn exclusion(self) -> bool {
        self.0 & 8 != 0
    }
}

const FOR_ALL: u8 = 0x20;
const FOR_ONE: u8 = 0x21;
const FOR_RANGE: u8 = 0x22;
pub(super) const TYPES: [u8; 3] = [FOR_ALL, FOR_ONE, FOR_RANGE];

const BYTES: usize = 32;
const PAGE_BYTES: u64 = 4096;

impl MemoryBlock {
    pub(super) fn parse(code: u8, block: &Fields<'_>) -> Result<Self, TableError> {
        let block = block.sized(block.len(), 2, BYTES)?;
        let first = block.u16(4)?;
        let devices = match code {
            FOR_ALL => Named::All,
            FOR_ONE => Named::Range { first, last: first },
            _ => Named::Range {
                first,
                last: block.u16(6)?,
            },
        };
        if let Named::Range { first, last } = devices
            && last < first
        {
            let first = first.into();
            return Err(block.error(6, Damage::BadIds { first, count: 0 }));
        }
        let (base, len_bytes) = (block.u64(16)?, block.u64(24)?);
        let last = block.last_of(24, base, len_bytes)?;
        if base % PAGE_BYTES != 0 || last % PAGE_BYTES != PAGE_BYTES - 1 {
            return Err(block.error(16, Damage::BadRange { base, last }));
        }
        Ok(Self {
            devices,
            segment: block.u16(8)?,
            flags: MemoryFlags(block.u8(1)?),
            base,
            last,
        })
    }
}

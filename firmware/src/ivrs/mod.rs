//! IVRS: AMD's IOMMUs, the devices behind each, and memory that is special for some (AMD I/O Virtualization
//! Technology Specification, chapter 5).
//!
//! The same unit may be described by blocks of three types, each richer than the one before. The richest counts
//! (5.2.2); the others are read, so that damage in them is told, and dropped. Types of blocks and entries that a
//! later revision may add are passed over.
//!
//! ```
//! use firmware::ivrs::{Ivrs, Selected};
//! use firmware::{Devices, Stream};
//!
//! // What QEMU gives a q35 board with `-device amd-iommu`.
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/q35-amd-iommu.ivrs.bin"));
//! let ivrs = Ivrs::parse(bytes)?;
//! let unit = &ivrs.units()[0];
//! assert_eq!((unit.requester, unit.register_base), (0x0008, 0xfed8_0000));
//! assert_eq!(unit.entries[0].devices, Selected::Range { first: 0, last: 0 });
//!
//! let host_bridge = Devices::Requesters { segment: 0, first: 0, last: 0 };
//! let described = ivrs.description();
//! let behind = described.assignments.iter().find(|one| one.devices == host_bridge);
//! assert_eq!(behind.map(|one| (one.unit, one.stream)), Some((0, Stream::Requester)));
//! # Ok::<(), firmware::TableError>(())
//! ```

mod describe;
mod entry;
mod memory;
mod settings;
mod unit;

use alloc::vec::Vec;

pub use entry::{AcpiName, DeviceEntry, Selected, SpecialKind, Uid};
pub use memory::{MemoryBlock, MemoryFlags, Named};
pub use settings::Settings;
pub use unit::{BlockType, Unit, UnitFlags};

use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::{Signature, verified};

/// The IVRS table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ivrs {
    info: Info,
    units: Vec<Unit>,
    memory_blocks: Vec<MemoryBlock>,
}

/// What the table says of all units: IVinfo (5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info(u32);

impl Info {
    /// Units report their features in their blocks.
    pub const fn features_reported(self) -> bool {
        self.0 & 1 != 0
    }

    /// Firmware asks for protection against DMA from boot on.
    pub const fn preboot_protection(self) -> bool {
        self.0 & 2 != 0
    }

    /// Bits of a guest's virtual address.
    pub const fn guest_address_bits(self) -> u32 {
        match self.0 >> 5 & 7 {
            2 => 48,
            _ => 0,
        }
    }

    /// Bits of a physical address.
    pub const fn physical_address_bits(self) -> u32 {
        self.0 >> 8 & 0x7f
    }

    /// Bits of a virtual address.
    pub const fn virtual_address_bits(self) -> u32 {
        self.0 >> 15 & 0x7f
    }

    /// The address range of HyperTransport that holds translation requests is reserved.
    pub const fn ats_range_reserved(self) -> bool {
        self.0 & 1 << 22 != 0
    }
}

impl Ivrs {
    const INFO_AT: usize = 36;
    const BLOCKS_AT: usize = 48;
    /// Bytes of type, flags and length that each block starts with.
    const PREFIX_BYTES: usize = 4;

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table or one of its blocks is damaged or ambiguous.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::IVRS, Self::BLOCKS_AT, bytes)?;
        let info = Info(table.u32(Self::INFO_AT)?);
        let bits = info.physical_address_bits();
        if bits > 64 {
            return Err(table.error(Self::INFO_AT + 1, Damage::BadAddressWidth { bits }));
        }
        let mut ivrs = Self {
            info,
            units: Vec::new(),
            memory_blocks: Vec::new(),
        };
        let mut rest = table.rest(Self::BLOCKS_AT)?;
        while rest.len() != 0 {
            let stated = rest.slice(0, Self::PREFIX_BYTES)?.u16(2)?.into();
            let block = rest.sized(stated, 2, Self::PREFIX_BYTES)?;
            ivrs.add(&block)?;
            rest = rest.rest(stated)?;
        }
        Ok(ivrs)
    }

    fn add(&mut self, block: &Fields<'_>) -> Result<(), TableError> {
        let code = block.u8(0)?;
        if let Some(block_type) = BlockType::of(code) {
            return self.add_unit(block, Unit::parse(block_type, block)?);
        }
        if memory::TYPES.contains(&code) {
            self.memory_blocks.push(MemoryBlock::parse(code, block)?);
        }
        Ok(())
    }

    fn add_unit(&mut self, block: &Fields<'_>, unit: Unit) -> Result<(), TableError> {
        let register_base = unit.register_base;
        for other in &mut self.units {
            let same = (other.segment, other.requester) == (unit.segment, unit.requester);
            if same && other.block_type != unit.block_type {
                if other.block_type < unit.block_type {
                    *other = unit;
                }
                return Ok(());
            }
            if same || other.register_base == register_base {
                let at = unit::BASE_AT;
                return Err(block.error(at, Damage::DuplicateUnit { register_base }));
            }
        }
        self.units.push(unit);
        Ok(())
    }

    /// What the table says of all units.
    pub fn info(&self) -> Info {
        self.info
    }

    /// All units, each by the richest block that describes it, in the order in which they first appear. No two
    /// are the same function.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Memory that is special for some devices.
    pub fn memory_blocks(&self) -> &[MemoryBlock] {
        &self.memory_blocks
    }
}

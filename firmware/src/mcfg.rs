//! MCFG: where configuration space is mapped in memory (PCI Firmware Specification 3.3, 4.1.2).
//!
//! ```
//! # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs")); }
//! # let bytes = example::mcfg();
//! let mcfg = firmware::Mcfg::parse(&bytes)?;
//! let buses = mcfg.allocations()[0];
//! assert_eq!((buses.segment, buses.first_bus, buses.last_bus), (0, 0, 255));
//! assert_eq!((buses.phys(), buses.len_bytes()), (0xe000_0000, 256 << 20));
//! # Ok::<(), firmware::TableError>(())
//! ```

use alloc::vec::Vec;

use crate::error::{Damage, TableError};
use crate::fields::Fields;
use crate::header::{Signature, verified};

/// The MCFG table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcfg {
    allocations: Vec<Allocation>,
}

/// Configuration space of some buses of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Physical address of bus 0's configuration space, or where it would lie if `first_bus` is above 0.
    pub bus0_phys: u64,
    /// PCI segment.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus, inclusive.
    pub last_bus: u8,
}

impl Allocation {
    const BYTES: usize = 16;
    const BUS_BYTES: u64 = hw::pci::ECAM_BUS_BYTES;

    /// Physical address of `first_bus`'s configuration space.
    pub const fn phys(&self) -> u64 {
        self.bus0_phys + self.first_bus as u64 * Self::BUS_BYTES
    }

    /// Bytes of the configuration space of all these buses.
    pub const fn len_bytes(&self) -> u64 {
        (self.last_bus as u64 - self.first_bus as u64 + 1) * Self::BUS_BYTES
    }

    fn parse(fields: &Fields<'_>) -> Result<Self, TableError> {
        let allocation = Self {
            bus0_phys: fields.u64(0)?,
            segment: fields.u16(8)?,
            first_bus: fields.u8(10)?,
            last_bus: fields.u8(11)?,
        };
        let Self {
            bus0_phys: address,
            first_bus: first,
            last_bus: last,
            ..
        } = allocation;
        if address == 0 || !address.is_multiple_of(Self::BUS_BYTES) {
            return Err(fields.error(
                0,
                Damage::BadAddress {
                    address,
                    align: Self::BUS_BYTES,
                },
            ));
        }
        if last < first {
            return Err(fields.error(10, Damage::BadBuses { first, last }));
        }
        // Thus `phys` and `len_bytes` cannot overflow.
        if address
            .checked_add((u64::from(last) + 1) * Self::BUS_BYTES)
            .is_none()
        {
            return Err(fields.error(
                0,
                Damage::BadRange {
                    base: address,
                    last: u64::MAX,
                },
            ));
        }
        Ok(allocation)
    }

    fn shares_buses(&self, other: &Self) -> bool {
        self.segment == other.segment
            && self.first_bus <= other.last_bus
            && other.first_bus <= self.last_bus
    }
}

impl Mcfg {
    /// Offset of the first allocation: 8 reserved bytes follow the header.
    const ALLOCATIONS_AT: usize = 44;

    /// Reads the table at the start of `bytes`. What follows it is ignored.
    ///
    /// # Errors
    /// If the table is damaged, or describes a bus twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let table = verified(Signature::MCFG, Self::ALLOCATIONS_AT, bytes)?;
        let mut allocations: Vec<Allocation> = Vec::new();
        for entry in table.entries(Self::ALLOCATIONS_AT, Allocation::BYTES)? {
            let allocation = Allocation::parse(&entry)?;
            if let Some(other) = allocations
                .iter()
                .find(|other| other.shares_buses(&allocation))
            {
                let damage = Damage::BusesOverlap {
                    segment: allocation.segment,
                    bus: allocation.first_bus.max(other.first_bus),
                };
                return Err(entry.error(8, damage));
            }
            allocations.push(allocation);
        }
        Ok(Self { allocations })
    }

    /// All allocations, in the order of the table.
    pub fn allocations(&self) -> &[Allocation] {
        &self.allocations
    }
}

//! Firmware's part in PCI: buses behind bridges get their numbers before the ACPI tables are asked for, as QEMU names
//! in them the functions and buses that each IOMMU translates for.
//!
//! Whoever enumerates later numbers the buses once more, depth first from 1 on, and comes to the same numbers: a table
//! that named others would be wrong.

use board::hardware::Width;
use hw::pci::bridge::{BusNumbers, PRIMARY_BUS};
use hw::pci::config::{HEADER_TYPE, HEADER_TYPE1, HeaderType, VENDOR_ID, VENDOR_NONE};
use hw::pci::{DEVICES_PER_BUS, ECAM_FUNCTION_BYTES, FUNCTIONS_PER_DEVICE};

use crate::qtest::{Qtest, QtestError};

/// Numbers the buses behind the bridges of bus 0, whose configuration space starts at `ecam`. Behind them are no further
/// bridges: computers here have none.
pub(crate) fn number_buses(qtest: &Qtest, ecam: u64) -> Result<(), QtestError> {
    let functions = u64::from(DEVICES_PER_BUS) * u64::from(FUNCTIONS_PER_DEVICE);
    let mut last_bus = 0;
    for function in 0..functions {
        let config = ecam + function * ECAM_FUNCTION_BYTES;
        let register = |register: u16| config + u64::from(register);
        if qtest.read(register(VENDOR_ID), Width::Word)? == u64::from(VENDOR_NONE) {
            continue;
        }
        let header = qtest.read(register(HEADER_TYPE), Width::Byte)?;
        if HeaderType::from_bits(header as u8).layout() != HEADER_TYPE1 {
            continue;
        }
        last_bus += 1;
        let numbers = BusNumbers::new()
            .with_secondary(last_bus)
            .with_subordinate(last_bus);
        qtest.write(
            register(PRIMARY_BUS),
            Width::Dword,
            numbers.into_bits().into(),
        )?;
    }
    Ok(())
}

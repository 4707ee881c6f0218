//! What firmware does to q35 before anything else: configuration space is put into memory.
//!
//! QEMU names the place in its ACPI tables only if it is there when the tables are first asked for.

use board::hardware::Width;

use crate::memory_map::Q35_ECAM;
use crate::qtest::{Qtest, QtestError};

/// The ports by which configuration space is reached without memory (PCI Local Bus 3.0, 3.2.2.3.2).
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// The host bridge's register that says where (Intel 3 Series chipset datasheet, PCIEXBAR), 64 bits. Bit 0 turns it on,
/// bits 1 and 2 are zero for 256 buses.
const PCIEXBAR: u32 = 0x60;
const PCIEXBAR_ENABLE: u64 = 1;

pub(crate) fn enable_ecam(qtest: &Qtest) -> Result<(), QtestError> {
    let value = Q35_ECAM | PCIEXBAR_ENABLE;
    // The upper half first: the address is right when the bit comes.
    for (register, half) in [(PCIEXBAR + 4, value >> 32), (PCIEXBAR, value & 0xffff_ffff)] {
        // Function 00:00.0, so bus, device and function are zero.
        let address = u64::from(CONFIG_ENABLE | register);
        qtest.write_port(CONFIG_ADDRESS, Width::Dword, address)?;
        qtest.write_port(CONFIG_DATA, Width::Dword, half)?;
    }
    Ok(())
}

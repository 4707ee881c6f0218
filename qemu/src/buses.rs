//! What firmware does before it asks for ACPI tables: the buses behind bridges get numbers.
//!
//! QEMU names the functions behind a virtio-iommu in VIOT by the buses that are known when the tables are first asked
//! for; buses without a number are none of them. A kernel may number them anew, in the same order.

use board::hardware::Width;

use crate::qtest::{Qtest, QtestError};

/// Bytes of configuration space of a function.
const FUNCTION_BYTES: u64 = 1 << 12;
const FUNCTIONS_PER_DEVICE: u64 = 8;
const DEVICES: u64 = 32;

/// Registers of every function, and of bridges (PCI-to-PCI bridge architecture specification 1.2, 3.2).
const VENDOR_ID: u64 = 0x00;
const HEADER_TYPE: u64 = 0x0e;
const PRIMARY_BUS: u64 = 0x18;
const SECONDARY_BUS: u64 = 0x19;
const SUBORDINATE_BUS: u64 = 0x1a;

const NOBODY: u64 = 0xffff;
/// Bits of the header type that tell the layout, and the layout of bridges.
const LAYOUT: u64 = 0x7f;
const BRIDGE: u64 = 1;

/// Numbers the buses right behind the bridges of bus 0, which are all there are on these computers. Configuration space
/// is at `ecam`.
pub(crate) fn number(qtest: &Qtest, ecam: u64) -> Result<(), QtestError> {
    let mut next = 1;
    for device in 0..DEVICES {
        let function = ecam + device * FUNCTIONS_PER_DEVICE * FUNCTION_BYTES;
        if qtest.read(function + VENDOR_ID, Width::Word)? == NOBODY
            || qtest.read(function + HEADER_TYPE, Width::Byte)? & LAYOUT != BRIDGE
        {
            continue;
        }
        for (register, bus) in [
            (PRIMARY_BUS, 0),
            (SECONDARY_BUS, next),
            (SUBORDINATE_BUS, next),
        ] {
            qtest.write(function + register, Width::Byte, bus)?;
        }
        next += 1;
    }
    Ok(())
}

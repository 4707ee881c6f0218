//! MCFG: where configuration space is (PCI Firmware specification 3.3, table 4-2).

use super::table::table;

/// The table for one segment group 0 whose bus 0 is at physical `base`.
pub(crate) fn mcfg(base: u64, first_bus: u8, last_bus: u8) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend(base.to_le_bytes());
    body.extend(0_u16.to_le_bytes()); // segment group
    body.extend([first_bus, last_bus]);
    body.extend([0; 4]);
    table(*b"MCFG", 1, &body)
}

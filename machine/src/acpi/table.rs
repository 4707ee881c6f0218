//! The header every system description table begins with (ACPI 6.5, table 5.4), and its checksum.

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 36;

/// Who made the tables.
pub(super) const OEM_ID: [u8; 6] = *b"DMAMAP";

const OEM_TABLE_ID: [u8; 8] = *b"MACHINE ";

/// A table of `body` behind its header.
pub(super) fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let len_bytes = (HEADER_BYTES + body.len()) as u32;
    let mut table = Vec::with_capacity(HEADER_BYTES + body.len());
    table.extend(signature);
    table.extend(len_bytes.to_le_bytes());
    table.extend([revision, 0]);
    table.extend(OEM_ID);
    table.extend(OEM_TABLE_ID);
    table.extend(1_u32.to_le_bytes()); // OEM revision
    table.extend(*b"DMAP"); // creator
    table.extend(1_u32.to_le_bytes()); // its revision
    table.extend(body);
    table[9] = checksum(&table);
    table
}

/// The byte that makes the sum of `bytes` zero, where it stands as zero now.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

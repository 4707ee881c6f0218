//! Sizes of page tables: 512 entries of 8 bytes at each of up to 6 levels (section 2.2.3).

/// Bytes of one entry.
pub(super) const ENTRY_BYTES: u64 = 8;
/// Entries of one table.
pub(super) const ENTRIES: u64 = 512;

/// log₂ of the bytes that one entry of `level` covers; for one level too many, of what the whole table covers.
pub(super) const fn size_log2(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

/// Where the entry for `bus` is in its table of `level`.
pub(super) const fn entry_offset(bus: u64, level: u32) -> u64 {
    (bus >> size_log2(level)) % ENTRIES * ENTRY_BYTES
}

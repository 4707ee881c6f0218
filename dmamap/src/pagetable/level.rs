//! The shape of all tables: 512 entries, nine bits of the address per level.

use crate::addr::FRAME_SIZE_LOG2;

/// Entries of a table.
pub const ENTRIES: usize = 1 << INDEX_BITS;

/// Levels of the deepest table a [`Format`](super::Format) may have.
pub const MAX_LEVELS: u32 = 6;

const INDEX_BITS: u32 = 9;

/// log2 of the bytes an entry of `level` covers.
pub(super) const fn size_log2(level: u32) -> u32 {
    FRAME_SIZE_LOG2 + INDEX_BITS * (level - 1)
}

/// Bytes an entry of `level` covers.
pub(super) const fn size(level: u32) -> u64 {
    1 << size_log2(level)
}

/// The entry for `bus` in its table of `level`.
pub(super) const fn index(bus: u64, level: u32) -> usize {
    (bus >> size_log2(level)) as usize & (ENTRIES - 1)
}

/// What tells the table of `level` that covers `bus` from its neighbours.
pub(super) const fn table_number(bus: u64, level: u32) -> u64 {
    match bus.checked_shr(size_log2(level) + INDEX_BITS) {
        Some(number) => number,
        None => 0,
    }
}

/// The first address that the table of `level` that covers `bus` covers.
pub(super) const fn table_base(bus: u64, level: u32) -> u64 {
    match table_number(bus, level).checked_shl(size_log2(level) + INDEX_BITS) {
        Some(base) => base,
        None => 0,
    }
}

/// The last address that a table of `levels` levels covers.
pub(super) const fn aperture_last(levels: u32) -> u64 {
    let bits = size_log2(levels) + INDEX_BITS;
    if bits >= u64::BITS {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}

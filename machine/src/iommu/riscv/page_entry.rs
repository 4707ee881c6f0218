//! What page-table entries say, and which of their bits are reserved (privileged specification, 12.3 to 12.6).

use hw::riscv::page_table::{Entry, N, NAPOT_64K, NAPOT_64K_MASK, PBMT, RESERVED, TABLE_RESERVED};

use super::entries::{Stage, TableAt};
use crate::iommu::grant::Grant;

/// Bytes of one entry.
pub(super) const ENTRY_BYTES: u64 = 8;

/// log₂ of the run that Svnapot knows.
const RUN_LOG2: u32 = 16;

/// log₂ of the bytes that an entry of `level` covers, the lowest being 1.
pub(super) const fn size_log2(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

/// Number of entries of a table: the root of a second stage has four times as many as others.
pub(super) const fn entries(stage: Stage, level: u32, levels: u32) -> u64 {
    match stage {
        Stage::Second if level == levels => 2048,
        _ => 512,
    }
}

/// Index of the entry for `bus` in a table of `level`.
pub(super) const fn index(stage: Stage, level: u32, levels: u32, bus: u64) -> u64 {
    bus >> size_log2(level) & (entries(stage, level, levels) - 1)
}

/// Whether a table of `levels` levels has a place for `bus`: a first stage for addresses whose upper bits repeat the
/// highest translated one, a second stage for those whose upper bits are zero.
pub(super) const fn is_translatable(stage: Stage, levels: u32, bus: u64) -> bool {
    let bits = 12 + 9 * levels;
    match stage {
        Stage::First => {
            let rest = (bus as i64) >> (bits - 1);
            rest == 0 || rest == -1
        }
        Stage::Second => bus >> (bits + 2) == 0,
    }
}

/// An entry, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    NotValid,
    /// A reserved bit or encoding.
    Reserved,
    Leaf {
        phys: u64,
        size_log2: u32,
        grant: Grant,
        global: bool,
    },
    Table(TableAt),
}

/// What the entry `word` of `table` says.
pub(super) fn decode(word: u64, table: TableAt, stage: Stage) -> Decoded {
    let entry = Entry::from_bits(word);
    if !entry.v() {
        return Decoded::NotValid;
    }
    let level = table.level;
    let global = table.global || stage == Stage::First && entry.g();
    // The unit lacks memory types (Svpbmt).
    if word & (RESERVED | PBMT) != 0 || entry.w() && !entry.r() {
        return Decoded::Reserved;
    }
    if !entry.is_leaf() {
        if level == 1 || word & (TABLE_RESERVED | N) != 0 {
            return Decoded::Reserved;
        }
        return Decoded::Table(TableAt {
            phys: entry.addr(),
            level: level - 1,
            grant: table.grant,
            global,
        });
    }
    let (phys, size_log2) = match (entry.n(), level) {
        (false, _) => (entry.addr(), size_log2(level)),
        (true, 1) if entry.addr() & NAPOT_64K_MASK == NAPOT_64K => {
            (entry.addr() & !NAPOT_64K_MASK, RUN_LOG2)
        }
        (true, _) => return Decoded::Reserved,
    };
    if phys & ((1 << size_log2) - 1) != 0 {
        return Decoded::Reserved;
    }
    // Requests have user privilege, and the unit sets no accessed or dirty bit: a page without them faults.
    let usable = entry.u() && entry.a();
    Decoded::Leaf {
        phys,
        size_log2,
        grant: table
            .grant
            .and(usable && entry.r(), usable && entry.w() && entry.d()),
        global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(level: u32) -> TableAt {
        TableAt {
            phys: 0,
            level,
            grant: Grant::ALL,
            global: false,
        }
    }

    #[test]
    fn addresses_outside_the_tables_are_told_by_their_upper_bits() {
        for (levels, bits) in [(3, 39), (4, 48), (5, 57)] {
            let half = 1_u64 << (bits - 1);
            assert!(is_translatable(Stage::First, levels, half - 1));
            assert!(!is_translatable(Stage::First, levels, half));
            assert!(!is_translatable(
                Stage::First,
                levels,
                half.wrapping_neg() - 1
            ));
            assert!(is_translatable(Stage::First, levels, half.wrapping_neg()));
            assert!(is_translatable(
                Stage::Second,
                levels,
                (1 << (bits + 2)) - 1
            ));
            assert!(!is_translatable(Stage::Second, levels, 1 << (bits + 2)));
        }
    }

    #[test]
    fn entries_are_refused_that_the_manual_reserves() {
        let leaf = 0x2000_00df_u64;
        assert!(matches!(
            decode(leaf, at(1), Stage::First),
            Decoded::Leaf { .. }
        ));
        for bit in (54..63).chain([63]) {
            assert_eq!(
                decode(leaf | 1 << bit, at(1), Stage::First),
                Decoded::Reserved,
                "bit {bit}"
            );
        }
        // Write without read; a table below the lowest; a table with user, accessed, dirty.
        assert_eq!(decode(0xc5, at(1), Stage::First), Decoded::Reserved);
        assert_eq!(decode(0x01, at(1), Stage::First), Decoded::Reserved);
        for bit in [4, 6, 7] {
            assert_eq!(decode(1 | 1 << bit, at(2), Stage::First), Decoded::Reserved);
        }
        // A large page that does not begin at a multiple of its size.
        assert_eq!(decode(0x4df, at(2), Stage::First), Decoded::Reserved);
    }

    #[test]
    fn naturally_aligned_run_is_one_page() {
        let word = 1 << 63 | 0x28 << 10 | 0xdf;
        assert_eq!(
            decode(word, at(1), Stage::First),
            Decoded::Leaf {
                phys: 0x2_0000,
                size_log2: 16,
                grant: Grant::ALL,
                global: false,
            }
        );
        assert_eq!(
            decode(1 << 63 | 0x24 << 10 | 0xdf, at(1), Stage::First),
            Decoded::Reserved
        );
        assert_eq!(
            decode(1 << 63 | 0xdf, at(2), Stage::First),
            Decoded::Reserved
        );
    }
}

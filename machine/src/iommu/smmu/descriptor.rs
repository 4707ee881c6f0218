//! Descriptors of page tables in VMSAv8-64 format, as one stage reads them (Arm Architecture Reference Manual, D8).

use hw::smmu::page_table::{self, Kind, S2AP_READ, S2AP_WRITE, Stage1, Stage2, Table};

use super::privilege::Grants;
use crate::iommu::grant::Grant;

/// Which stage of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    First,
    Second,
}

/// The shape of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) granule_log2: u32,
    pub(super) input_bits: u32,
    /// Level of the root, 0 to 3; leaves of one granule are at level 3.
    pub(super) start_level: u32,
}

/// Bytes of one descriptor, log₂.
const DESCRIPTOR_LOG2: u32 = 3;
/// The lowest level.
const LAST_LEVEL: u32 = 3;
/// Roots are aligned to this at least, log₂.
const ROOT_LOG2: u32 = 6;

impl Geometry {
    /// The shape of a stage 1 table: it starts at the level that `input_bits` need.
    pub(super) fn stage1(granule_log2: u32, input_bits: u32) -> Self {
        let index_log2 = granule_log2 - DESCRIPTOR_LOG2;
        let levels = (input_bits - granule_log2).div_ceil(index_log2);
        Self {
            granule_log2,
            input_bits,
            start_level: LAST_LEVEL + 1 - levels,
        }
    }

    /// log₂ of the descriptors in a table that is not the root.
    pub(super) fn index_log2(self) -> u32 {
        self.granule_log2 - DESCRIPTOR_LOG2
    }

    /// log₂ of the bytes that a descriptor of `level` covers.
    pub(super) fn entry_log2(self, level: u32) -> u32 {
        self.granule_log2 + (LAST_LEVEL - level) * self.index_log2()
    }

    /// Number of descriptors in a table of `level`.
    pub(super) fn entries(self, level: u32) -> u64 {
        if level == self.start_level {
            1 << (self.input_bits - self.entry_log2(level))
        } else {
            1 << self.index_log2()
        }
    }

    /// Bytes of a table of `level`.
    pub(super) fn table_bytes(self, level: u32) -> u64 {
        self.entries(level) << DESCRIPTOR_LOG2
    }

    /// Where the descriptor for `address` lies in a table of `level` at `table`.
    pub(super) fn descriptor_at(self, table: u64, level: u32, address: u64) -> u64 {
        let index = (address >> self.entry_log2(level)) & (self.entries(level) - 1);
        table + (index << DESCRIPTOR_LOG2)
    }

    /// Bits of the root's address that are to be zero.
    pub(super) fn root_reserved(self) -> u64 {
        self.table_bytes(self.start_level).max(1 << ROOT_LOG2) - 1
    }

    /// Whether a descriptor of `level` may be a leaf.
    fn may_be_leaf(self, level: u32) -> bool {
        matches!((self.granule_log2, level), (_, 2 | LAST_LEVEL) | (12, 1))
    }
}

/// A descriptor, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// There is no translation.
    Invalid,
    Table {
        next: u64,
        grants: Grants,
    },
    Leaf(Leaf),
}

/// A descriptor that ends a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) output: u64,
    pub(super) grants: Grants,
    /// The access flag.
    pub(super) accessed: bool,
    /// It translates for every ASID (stage 1).
    pub(super) global: bool,
}

/// `APTable` of stage 1: no access without privilege.
const TABLE_PRIVILEGED: u8 = 0b01;
/// `APTable` of stage 1: no writes.
const TABLE_READ_ONLY: u8 = 0b10;
/// `AP[2:1]` of stage 1: accesses without privilege too.
const OPEN: u8 = 0b01;
/// `AP[2:1]` of stage 1: no writes.
const READ_ONLY: u8 = 0b10;

/// What `word`, a descriptor of `level`, says.
pub(super) fn decode(stage: Stage, geometry: Geometry, level: u32, word: u64) -> Descriptor {
    match kind(level, word) {
        Kind::Table => {
            let table = Table::from_bits(word);
            let grants = match stage {
                Stage::First => Grants::stage1(
                    table.ap_table() & TABLE_PRIVILEGED == 0,
                    table.ap_table() & TABLE_READ_ONLY == 0,
                ),
                Stage::Second => Grants::ALL,
            };
            Descriptor::Table {
                next: table.addr() & !((1 << geometry.granule_log2) - 1),
                grants,
            }
        }
        Kind::Page | Kind::Block if geometry.may_be_leaf(level) => {
            let leaf = match stage {
                Stage::First => {
                    let leaf = Stage1::from_bits(word);
                    Leaf {
                        output: leaf.addr(),
                        grants: Grants::stage1(leaf.ap() & OPEN != 0, leaf.ap() & READ_ONLY == 0),
                        accessed: leaf.af(),
                        global: !leaf.n_g(),
                    }
                }
                Stage::Second => {
                    let leaf = Stage2::from_bits(word);
                    Leaf {
                        output: leaf.addr(),
                        grants: Grants::of_both(Grant {
                            read: leaf.s2ap() & S2AP_READ != 0,
                            write: leaf.s2ap() & S2AP_WRITE != 0,
                        }),
                        accessed: leaf.af(),
                        global: false,
                    }
                }
            };
            Descriptor::Leaf(Leaf {
                output: leaf.output & !((1 << geometry.entry_log2(level)) - 1),
                ..leaf
            })
        }
        Kind::Page | Kind::Block | Kind::Reserved | Kind::Invalid => Descriptor::Invalid,
    }
}

/// What a descriptor of `level` is; the words count levels the other way round.
fn kind(level: u32, word: u64) -> Kind {
    page_table::kind(LAST_LEVEL + 1 - level, word)
}

/// Bits of `word` that are set and are to be zero in a valid descriptor of `level`.
pub(super) fn reserved(stage: Stage, geometry: Geometry, level: u32, word: u64) -> u64 {
    let is_table = kind(level, word) == Kind::Table;
    let size_log2 = match is_table {
        true => geometry.granule_log2,
        false => geometry.entry_log2(level),
    };
    let high = match (is_table, stage) {
        (true, Stage::First) => page_table::TABLE_RESERVED,
        (true, Stage::Second) => page_table::TABLE_RESERVED | page_table::TABLE_LIMITS,
        (false, Stage::First) => page_table::STAGE1_RESERVED,
        (false, Stage::Second) => page_table::STAGE2_RESERVED,
    };
    word & (page_table::below_size(size_log2) | high)
}

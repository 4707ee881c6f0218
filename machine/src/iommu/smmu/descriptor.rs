//! Descriptors of page tables in VMSAv8-64 format, as one stage reads them (Arm Architecture Reference Manual, D8).

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
        match (self.granule_log2, level) {
            (_, LAST_LEVEL) | (_, 2) => true,
            (12, 1) => true,
            _ => false,
        }
    }
}

/// A descriptor, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// There is no translation.
    Invalid,
    Table {
        next: u64,
        grant: Grant,
    },
    Leaf(Leaf),
}

/// A descriptor that ends a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) output: u64,
    pub(super) grant: Grant,
    /// The access flag.
    pub(super) accessed: bool,
    /// It translates for every ASID (stage 1).
    pub(super) global: bool,
}

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP[1] of stage 1, S2AP[0] of stage 2.
const AP_LOW: u64 = 1 << 6;
/// AP[2] of stage 1, S2AP[1] of stage 2.
const AP_HIGH: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
/// APTable of stage 1: no access without privilege.
const TABLE_PRIVILEGED: u64 = 1 << 61;
/// APTable of stage 1: no writes.
const TABLE_READ_ONLY: u64 = 1 << 62;
/// Bits 47:12.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What `word`, a descriptor of `level`, says to requests that are `privileged` or not.
pub(super) fn decode(
    stage: Stage,
    geometry: Geometry,
    level: u32,
    word: u64,
    privileged: bool,
) -> Descriptor {
    if word & VALID == 0 {
        return Descriptor::Invalid;
    }
    let is_set = |bit| word & bit != 0;
    match (is_set(TABLE_OR_PAGE), level) {
        (true, 0..LAST_LEVEL) => {
            let open = privileged || !is_set(TABLE_PRIVILEGED);
            let grant = match stage {
                Stage::First => Grant {
                    read: open,
                    write: open && !is_set(TABLE_READ_ONLY),
                },
                Stage::Second => Grant::ALL,
            };
            Descriptor::Table {
                next: word & ADDRESS & !((1 << geometry.granule_log2) - 1),
                grant,
            }
        }
        (true, LAST_LEVEL) | (false, 0..LAST_LEVEL) if geometry.may_be_leaf(level) => {
            let grant = match stage {
                Stage::First => {
                    let open = privileged || is_set(AP_LOW);
                    Grant {
                        read: open,
                        write: open && !is_set(AP_HIGH),
                    }
                }
                Stage::Second => Grant {
                    read: is_set(AP_LOW),
                    write: is_set(AP_HIGH),
                },
            };
            Descriptor::Leaf(Leaf {
                output: word & ADDRESS & !((1 << geometry.entry_log2(level)) - 1),
                grant,
                accessed: is_set(ACCESSED),
                global: stage == Stage::First && !is_set(NOT_GLOBAL),
            })
        }
        _ => Descriptor::Invalid,
    }
}

/// Bits of `word` that are set and are to be zero in a valid descriptor of `level`.
pub(super) fn reserved(stage: Stage, geometry: Geometry, level: u32, word: u64) -> u64 {
    let is_table = word & TABLE_OR_PAGE != 0 && level < LAST_LEVEL;
    let below = match is_table {
        true => (1 << geometry.granule_log2) - 1,
        false => (1 << geometry.entry_log2(level)) - 1,
    };
    let high = match (is_table, stage) {
        (true, Stage::First) => 0x0007_0000_0000_0000,
        (true, Stage::Second) => 0xf807_0000_0000_0000,
        (false, _) => 0x0003_0000_0000_0000,
    };
    word & (below & ADDRESS | high)
}

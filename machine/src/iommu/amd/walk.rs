//! The walk: device table entry, then the page table from its top level down (sections 2.2.2 and 2.2.3).

use hw::amd::device_table;
use hw::amd::regs::DeviceTableBase;

use super::entries::{Cause, Decoded, DeviceEntry, Rules, TableAt, through};
use super::geometry::{entry_offset, size_log2};
use crate::iommu::grant::Grant;
use crate::iommu::table_memory::TableMemory;
use crate::temper::Dice;

/// Where a walk of a page table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// A leaf that maps `2^size_log2` bytes at `phys`.
    Leaf {
        phys: u64,
        size_log2: u32,
        grant: Grant,
    },
    /// Nothing is there, or an address bit that a skipped level would look at is set.
    NotPresent,
    /// An entry that could not be read, at this physical address.
    Unreachable(u64),
    /// An entry that could not be used.
    Malformed { cause: Cause, entry: u64 },
}

/// Why a device has no entry the unit can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryFault {
    pub(super) cause: Cause,
    /// Where the entry is.
    pub(super) phys: u64,
    pub(super) words: [u64; 4],
}

impl Rules {
    /// Reads the entry of `device`. The unit may fetch its words in any order: an entry that is changed while it is
    /// read is read torn.
    pub(super) fn device(
        self,
        memory: &TableMemory,
        table: DeviceTableBase,
        device: u16,
        dice: &Dice,
    ) -> Result<DeviceEntry, EntryFault> {
        let phys = table.base() + device_table::entry_offset(device);
        let fault = |cause, words| EntryFault { cause, phys, words };
        if u64::from(device) >= table.entries() {
            return Err(fault(Cause::ILLEGAL_MODE, [0; 4]));
        }
        let mut words = [0; device_table::ENTRY_WORDS];
        let first = dice.below(4) as usize;
        for index in (0..words.len()).map(|index| (first + index) % 4) {
            words[index] = memory
                .entry(phys + index as u64 * 8)
                .map_err(|_| fault(Cause::ENTRY_UNREACHABLE, [0; 4]))?;
        }
        self.decode_device(words)
            .map_err(|cause| fault(cause, words))
    }

    /// Walks from `start` to the leaf of `bus`. `passed` is told each table below `start` that the walk goes through.
    pub(super) fn page(
        self,
        memory: &TableMemory,
        start: TableAt,
        bus: u64,
        mut passed: impl FnMut(TableAt),
    ) -> WalkEnd {
        let mut table = start;
        loop {
            let level = table.level;
            let at = table.phys + entry_offset(bus, level);
            let Ok(word) = memory.entry(at) else {
                return WalkEnd::Unreachable(at);
            };
            match self.decode(word, level) {
                Decoded::NotPresent => return WalkEnd::NotPresent,
                Decoded::Malformed(cause) => return WalkEnd::Malformed { cause, entry: word },
                Decoded::Leaf {
                    entry,
                    phys,
                    size_log2,
                } => {
                    return WalkEnd::Leaf {
                        phys,
                        size_log2,
                        grant: through(table.grant, entry),
                    };
                }
                Decoded::Table { entry, level: next } => {
                    // What the levels between would translate must be zero.
                    if bus_bits(bus, size_log2(next + 1), size_log2(level)) != 0 {
                        return WalkEnd::NotPresent;
                    }
                    table = TableAt {
                        phys: entry.addr(),
                        level: next,
                        grant: through(table.grant, entry),
                    };
                    passed(table);
                }
            }
        }
    }
}

/// Whether `bus` has more bits than a table of `levels` levels translates.
pub(super) fn is_beyond(bus: u64, levels: u32) -> bool {
    bus_bits(bus, size_log2(levels + 1), u64::BITS) != 0
}

/// Bits `from` to `end` of `bus`, both as a number of bits, in place.
fn bus_bits(bus: u64, from: u32, end: u32) -> u64 {
    let below = |bits: u32| 1_u64.checked_shl(bits).map_or(!0, |bit| bit - 1);
    bus & below(end) & !below(from)
}

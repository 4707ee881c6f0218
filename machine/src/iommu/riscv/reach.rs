//! Everything that can be reached from `ddtp`, as the unit's walks would read it.

use super::entries::{Context, Route, Rules, Stage, TableAt};
use super::page_entry::{self, Decoded, size_log2};
use super::walk::Directory;
use crate::iommu::grant::Grant;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::table_memory::TableMemory;

/// Requesters of one segment have 16 bits of a device id.
const REQUESTER_BITS: u32 = 16;
const FRAME_BYTES: u64 = 4096;

/// A visit of one unit's tables.
struct Visit<'a, 'b> {
    rules: Rules,
    memory: &'a TableMemory,
    visitor: Visitor<'b>,
    /// Page tables that were visited for a requester before.
    seen: Vec<u64>,
}

/// The table being visited, and which stage it is of.
#[derive(Clone, Copy)]
struct Place {
    requester: u16,
    stage: Stage,
    levels: u32,
}

/// Visits each thing once per path that leads to it; a page table that several requesters share only for the first
/// of them. Malformed entries lead nowhere.
pub(super) fn visit(
    rules: Rules,
    memory: &TableMemory,
    directory: Directory,
    visitor: Visitor<'_>,
) -> Onward {
    let mut visit = Visit {
        rules,
        memory,
        visitor,
        seen: Vec::new(),
    };
    visit.directory(directory.root, directory.levels - 1, 0)
}

impl Visit<'_, '_> {
    fn tell(&mut self, reached: Reached) -> Onward {
        (self.visitor)(reached)
    }

    /// A table of the directory of `level`, the lowest being 0, for the devices from `first` on.
    fn directory(&mut self, table: u64, level: u32, first: u32) -> Onward {
        if self.tell(Reached::Table { phys: table }) == Onward::Stop {
            return Onward::Stop;
        }
        if level == 0 {
            return self.contexts(table, first);
        }
        let below = self.rules.format.device_id_bits(level);
        for (index, word) in self.memory.occupied(table, FRAME_BYTES / 8) {
            let device = first + ((index as u32) << below);
            if device >> REQUESTER_BITS != 0 {
                break;
            }
            if let Ok(next) = self.rules.decode_directory(word)
                && self.directory(next, level - 1, device) == Onward::Stop
            {
                return Onward::Stop;
            }
        }
        Onward::Continue
    }

    fn contexts(&mut self, table: u64, first: u32) -> Onward {
        let bytes = self.rules.format.context_bytes();
        for index in 0..FRAME_BYTES / bytes {
            let Some(words) = self.rules.context_words(self.memory, table + index * bytes) else {
                break;
            };
            let Ok(context) = self.rules.decode_context(words) else {
                continue;
            };
            let requester = (first + index as u32) as u16;
            if self.context(requester, context) == Onward::Stop {
                return Onward::Stop;
            }
        }
        Onward::Continue
    }

    fn context(&mut self, requester: u16, context: Context) -> Onward {
        let (stage, table, levels) = match context.route {
            Route::Bare => return self.tell(Reached::All { requester }),
            Route::First { table, levels, .. } => (Stage::First, table, levels),
            Route::Second { table, levels, .. } => (Stage::Second, table, levels),
        };
        if self.seen.contains(&table) {
            return Onward::Continue;
        }
        self.seen.push(table);
        let place = Place {
            requester,
            stage,
            levels,
        };
        let top = TableAt {
            phys: table,
            level: levels,
            grant: Grant::ALL,
            global: false,
        };
        self.page_table(place, top, 0)
    }

    fn page_table(&mut self, place: Place, table: TableAt, first_bus: u64) -> Onward {
        let Place {
            requester,
            stage,
            levels,
        } = place;
        let entries = page_entry::entries(stage, table.level, levels);
        let frames = entries * page_entry::ENTRY_BYTES / FRAME_BYTES;
        for frame in 0..frames {
            let phys = table.phys + frame * FRAME_BYTES;
            if self.tell(Reached::Table { phys }) == Onward::Stop {
                return Onward::Stop;
            }
        }
        for (index, word) in self.memory.occupied(table.phys, entries) {
            let bus = bus_of(place, table.level, first_bus, index);
            let onward = match page_entry::decode(word, table, stage) {
                Decoded::NotValid | Decoded::Reserved => continue,
                Decoded::Leaf {
                    phys,
                    size_log2,
                    grant,
                    ..
                } => self.tell(Reached::Leaf {
                    requester,
                    bus: bus >> size_log2 << size_log2,
                    phys,
                    len_bytes: 1 << size_log2,
                    grant,
                }),
                Decoded::Table(next) => self.page_table(place, next, bus),
            };
            if onward == Onward::Stop {
                return Onward::Stop;
            }
        }
        Onward::Continue
    }
}

/// The bus address of an entry: in the upper half of a first stage's top table the upper bits are ones.
fn bus_of(place: Place, level: u32, first_bus: u64, index: u64) -> u64 {
    let bus = first_bus + (index << size_log2(level));
    if place.stage == Stage::First && level == place.levels && index >= 256 {
        bus | u64::MAX << (size_log2(level) + 9)
    } else {
        bus
    }
}

//! Everything that can be reached from the device table, as the unit's walks would read it.

use hw::amd::device_table::{self, TranslationWord};
use hw::amd::regs::DeviceTableBase;

use super::entries::{Decoded, DeviceEntry, Route, Rules, TableAt, through};
use super::geometry::{ENTRIES, size_log2};
use crate::iommu::grant::Grant;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::table_memory::TableMemory;
use crate::temper::Dice;

const FRAME_BYTES: u64 = 4096;

/// Visits the frames of the device table.
pub(super) fn visit_device_table(table: DeviceTableBase, visit: Visitor<'_>) -> Onward {
    for phys in (table.base()..table.base() + table.len_bytes()).step_by(FRAME_BYTES as usize) {
        if visit(Reached::Table { phys }) == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

/// Visits what the entries of `devices` lead to; a page table that several devices share only for the first of them.
/// Malformed entries lead nowhere.
pub(super) fn visit(
    rules: Rules,
    memory: &TableMemory,
    table: DeviceTableBase,
    devices: impl Iterator<Item = u16>,
    visit: Visitor<'_>,
) -> Onward {
    let dice = Dice::new(0);
    let mut seen: Vec<u64> = Vec::new();
    for device in devices.take_while(|device| u64::from(*device) < table.entries()) {
        let Ok(entry) = rules.device(memory, table, device, &dice) else {
            continue;
        };
        if visit_device(rules, memory, device, entry, &mut seen, visit) == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

fn visit_device(
    rules: Rules,
    memory: &TableMemory,
    device: u16,
    entry: DeviceEntry,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    let nothing = !entry.grant.read && !entry.grant.write;
    match entry.route {
        Route::Open => visit(Reached::All { requester: device }),
        Route::Nowhere => Onward::Continue,
        Route::Untranslated if nothing => Onward::Continue,
        Route::Untranslated => visit(Reached::All { requester: device }),
        Route::Table { table, .. } if seen.contains(&table) => Onward::Continue,
        // The unit may well read the table and only then refuse the request.
        Route::Table { table, levels } => {
            seen.push(table);
            let top = TableAt {
                phys: table,
                level: levels,
                grant: entry.grant,
            };
            visit_table(rules, memory, device, top, 0, visit)
        }
    }
}

fn visit_table(
    rules: Rules,
    memory: &TableMemory,
    device: u16,
    table: TableAt,
    first_bus: u64,
    visit: Visitor<'_>,
) -> Onward {
    if visit(Reached::Table { phys: table.phys }) == Onward::Stop {
        return Onward::Stop;
    }
    let level = table.level;
    let entry_log2 = size_log2(level);
    for (index, word) in memory.occupied(table.phys, ENTRIES) {
        let bus = first_bus.wrapping_add(index << entry_log2);
        let onward = match rules.decode(word, level) {
            Decoded::NotPresent | Decoded::Malformed(_) => continue,
            Decoded::Leaf {
                entry,
                phys,
                size_log2: page_log2,
            } => {
                // Each entry of a page that takes several is a part of it.
                let offset = bus & ((1 << page_log2) - 1);
                let grant = through(table.grant, entry);
                if grant == Grant::ALL.and(false, false) {
                    continue;
                }
                visit(Reached::Leaf {
                    requester: device,
                    bus,
                    phys: phys + offset,
                    len_bytes: 1 << entry_log2,
                    grant,
                })
            }
            Decoded::Table { entry, level: next } => {
                let next = TableAt {
                    phys: entry.addr(),
                    level: next,
                    grant: through(table.grant, entry),
                };
                visit_table(rules, memory, device, next, bus, visit)
            }
        };
        if onward == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

/// Every device id whose entry may lead somewhere. One that is valid without a translation, as those of all devices that
/// nobody attached, leads nowhere whatever else it says: of it the first word is enough.
pub(super) fn devices(memory: &TableMemory, table: DeviceTableBase) -> impl Iterator<Item = u16> {
    let entries = table.entries().min(device_table::MAX_ENTRIES);
    let first_words = memory.first_words(table.base(), entries, device_table::ENTRY_BYTES);
    first_words.filter_map(|(device, word)| {
        let word = TranslationWord::from_bits(word);
        (!word.v() || word.tv()).then_some(device as u16)
    })
}

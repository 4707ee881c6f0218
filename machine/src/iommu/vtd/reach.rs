//! Everything that can be reached from the root table, as the unit's walks would read it.

use hw::vtd::pasid;
use hw::vtd::root::{self, RootEntry};
use hw::vtd::scalable::{self, Half};
use hw::vtd::second_stage::{self, size_log2};

use super::core::{Mode, RootTable};
use super::entries::{Context, Decoded, Route, Rules, TableAt, Target};
use super::scalable::Directory;
use super::stage::Stage;
use crate::iommu::grant::Grant;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::table_memory::TableMemory;

/// Visits each thing once per path that leads to it; a page table that several requesters share only for the first of
/// them. Malformed entries lead nowhere.
pub(super) fn visit(
    rules: Rules,
    memory: &TableMemory,
    root_table: RootTable,
    visit: Visitor<'_>,
) -> Onward {
    let RootTable { phys, mode } = root_table;
    if visit(Reached::Table { phys }) == Onward::Stop {
        return Onward::Stop;
    }
    let mut seen: Vec<u64> = Vec::new();
    match mode {
        Mode::Legacy => visit_root(rules, memory, phys, &mut seen, visit),
        Mode::Scalable => visit_scalable_root(rules, memory, phys, &mut seen, visit),
    }
}

fn visit_root(
    rules: Rules,
    memory: &TableMemory,
    root_table: u64,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    for (bus, _) in present(memory, root_table) {
        let Ok(words) = memory.wide_entry(root_table + bus * root::ENTRY_BYTES) else {
            break;
        };
        let entry = RootEntry::from_words(words);
        if !entry.p() || rules.root_reserved(words) {
            continue;
        }
        if visit(Reached::Table { phys: entry.ctp() }) == Onward::Stop {
            return Onward::Stop;
        }
        for (function, _) in present(memory, entry.ctp()) {
            let at = entry.ctp() + function * root::ENTRY_BYTES;
            let Ok(words) = memory.wide_entry(at) else {
                break;
            };
            let Ok(context) = rules.decode_context(words) else {
                continue;
            };
            let requester = (bus << 8 | function) as u16;
            if visit_context(rules, memory, requester, context, seen, visit) == Onward::Stop {
                return Onward::Stop;
            }
        }
    }
    Onward::Continue
}

/// The entries of two words that say they are present, by their first: those of a root or a context table.
fn present(memory: &TableMemory, table: u64) -> impl Iterator<Item = (u64, u64)> {
    let first_words = memory.first_words(table, root::ENTRIES as u64, root::ENTRY_BYTES);
    first_words.filter(|(_, word)| word & 1 != 0)
}

fn visit_scalable_root(
    rules: Rules,
    memory: &TableMemory,
    root_table: u64,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    for bus in 0..scalable::ROOT_ENTRIES as u64 {
        let Ok(words) = memory.wide_entry(root_table + bus * scalable::ROOT_ENTRY_BYTES) else {
            break;
        };
        for (half, first) in [(Half::Lower, 0), (Half::Upper, 0x80)] {
            let Ok(table) = rules.context_table(words, half) else {
                continue;
            };
            if visit(Reached::Table { phys: table }) == Onward::Stop {
                return Onward::Stop;
            }
            for index in 0..scalable::CONTEXT_ENTRIES as u64 {
                let Some(words) =
                    present_words(memory, table + index * scalable::CONTEXT_ENTRY_BYTES)
                else {
                    continue;
                };
                let Ok(directory) = rules.decode_directory(words) else {
                    continue;
                };
                let requester = (bus << 8 | first | index) as u16;
                if visit_directory(rules, memory, requester, directory, seen, visit) == Onward::Stop
                {
                    return Onward::Stop;
                }
            }
        }
    }
    Onward::Continue
}

/// The words of an entry whose first bit says that it is present.
fn present_words<const N: usize>(memory: &TableMemory, phys: u64) -> Option<[u64; N]> {
    let present = memory.entry(phys).ok()? & 1 != 0;
    present.then(|| memory.words(phys).ok())?
}

fn visit_directory(
    rules: Rules,
    memory: &TableMemory,
    requester: u16,
    directory: Directory,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    for frame in 0..directory.len_bytes().div_ceil(pasid::TABLE_BYTES) {
        let phys = directory.phys + frame * pasid::TABLE_BYTES;
        if visit(Reached::Table { phys }) == Onward::Stop {
            return Onward::Stop;
        }
    }
    for (index, word) in memory.occupied(directory.phys, directory.entries) {
        let Ok(table) = rules.pasid_table(word) else {
            continue;
        };
        if visit(Reached::Table { phys: table }) == Onward::Stop {
            return Onward::Stop;
        }
        for entry in 0..pasid::ENTRIES as u64 {
            let Some(words) = present_words(memory, table + entry * pasid::ENTRY_BYTES) else {
                continue;
            };
            let pasid = index << 6 | entry;
            let Ok(context) = rules.decode_pasid(words, pasid as u32) else {
                continue;
            };
            if visit_context(rules, memory, requester, context, seen, visit) == Onward::Stop {
                return Onward::Stop;
            }
        }
    }
    Onward::Continue
}

fn visit_context(
    rules: Rules,
    memory: &TableMemory,
    requester: u16,
    context: Context,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    match context.route {
        Route::PassThrough => visit(Reached::All { requester }),
        Route::Table { table, .. } if seen.contains(&table) => Onward::Continue,
        Route::Table {
            table,
            levels,
            stage,
        } => {
            seen.push(table);
            let top = TableAt {
                phys: table,
                level: levels,
                grant: Grant::ALL,
            };
            visit_table(rules, memory, (requester, stage), top, 0, visit)
        }
    }
}

fn visit_table(
    rules: Rules,
    memory: &TableMemory,
    (requester, stage): (u16, Stage),
    table: TableAt,
    first_bus: u64,
    visit: Visitor<'_>,
) -> Onward {
    if visit(Reached::Table { phys: table.phys }) == Onward::Stop {
        return Onward::Stop;
    }
    let level = table.level;
    for (index, word) in memory.occupied(table.phys, second_stage::ENTRIES as u64) {
        let bus = first_bus + (index << size_log2(level));
        let granted = |target: Target| table.grant.and(target.grant.read, target.grant.write);
        let onward = match rules.decode(stage, word, level) {
            Decoded::NotPresent | Decoded::Malformed(_) => continue,
            Decoded::Leaf(target) => visit(Reached::Leaf {
                requester,
                bus,
                phys: target.phys,
                len_bytes: 1 << size_log2(level),
                grant: granted(target),
            }),
            Decoded::Table(target) => {
                let next = TableAt {
                    phys: target.phys,
                    level: level - 1,
                    grant: granted(target),
                };
                visit_table(rules, memory, (requester, stage), next, bus, visit)
            }
        };
        if onward == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

//! Everything that can be reached from the root table, as the unit's walks would read it.

use hw::vtd::root::{self, RootEntry};
use hw::vtd::second_stage::{self, size_log2};

use super::entries::{Context, Decoded, Route, Rules, TableAt, through};
use crate::iommu::grant::Grant;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::table_memory::TableMemory;

/// Visits each thing once per path that leads to it; a second-stage table that several requesters share only for
/// the first of them. Malformed entries lead nowhere.
pub(super) fn visit(
    rules: Rules,
    memory: &TableMemory,
    root_table: u64,
    visit: Visitor<'_>,
) -> Onward {
    let mut seen: Vec<u64> = Vec::new();
    if visit(Reached::Table { phys: root_table }) == Onward::Stop {
        return Onward::Stop;
    }
    for bus in 0..root::ENTRIES as u64 {
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
        for function in 0..root::ENTRIES as u64 {
            let at = entry.ctp() + function * root::ENTRY_BYTES;
            let Ok(words) = memory.wide_entry(at) else {
                break;
            };
            let Ok(context) = rules.decode_context(words) else {
                continue;
            };
            let requester = (bus << 8 | function) as u16;
            if visit_context(rules, memory, requester, context, &mut seen, visit) == Onward::Stop {
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
        Route::Table { table, levels } => {
            seen.push(table);
            let top = TableAt {
                phys: table,
                level: levels,
                grant: Grant::ALL,
            };
            visit_table(rules, memory, requester, top, 0, visit)
        }
    }
}

fn visit_table(
    rules: Rules,
    memory: &TableMemory,
    requester: u16,
    table: TableAt,
    first_bus: u64,
    visit: Visitor<'_>,
) -> Onward {
    if visit(Reached::Table { phys: table.phys }) == Onward::Stop {
        return Onward::Stop;
    }
    let level = table.level;
    for index in 0..second_stage::ENTRIES as u64 {
        let Ok(word) = memory.entry(table.phys + index * second_stage::ENTRY_BYTES) else {
            break;
        };
        let bus = first_bus + (index << size_log2(level));
        let onward = match rules.decode(word, level) {
            Decoded::NotPresent | Decoded::Reserved => continue,
            Decoded::Leaf(entry) => visit(Reached::Leaf {
                requester,
                bus,
                phys: entry.addr(),
                len_bytes: 1 << size_log2(level),
                grant: through(table.grant, entry),
            }),
            Decoded::Table(entry) => {
                let grant = through(table.grant, entry);
                let next = TableAt {
                    phys: entry.addr(),
                    level: level - 1,
                    grant,
                };
                visit_table(rules, memory, requester, next, bus, visit)
            }
        };
        if onward == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

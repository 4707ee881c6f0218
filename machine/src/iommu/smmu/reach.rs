//! Everything that can be reached from the stream table, as the unit's walks would read it.

use hw::smmu::stream::ENTRY_BYTES;

use super::descriptor::{self, Descriptor, Geometry};
use super::entries::{Rules, Stream, Tables, Translating};
use super::privilege::PrivilegeConfig;
use super::stream_table::{self, StreamTable};
use super::walk::TableAt;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::table_memory::TableMemory;

const FRAME_BYTES: u64 = 4096;

/// Visits each thing once per path that leads to it; a page table that several streams share only for the first of
/// them. Malformed entries lead nowhere. Of streams whose stages both translate, pages are those of stage 2.
pub(super) fn visit(
    rules: Rules,
    memory: &TableMemory,
    table: StreamTable,
    first_stream: u32,
    visit: Visitor<'_>,
) -> Onward {
    let mut seen: Vec<u64> = Vec::new();
    if frames(table.base, table.len_bytes(), visit) == Onward::Stop {
        return Onward::Stop;
    }
    let streams = 1_u64 << table.log2size;
    let mut stream = 0;
    while stream < streams {
        let level1 = match table.split {
            None => None,
            Some(split) => {
                let at = table.level1_at((stream >> split) as u32);
                let Ok(level1) = stream_table::load_level1(memory, at) else {
                    break;
                };
                if level1.entries() == 0 {
                    stream = ((stream >> split) + 1) << split;
                    continue;
                }
                if stream & ((1 << split) - 1) == 0 {
                    let len_bytes = u64::from(level1.entries()) * ENTRY_BYTES;
                    if frames(level1.l2ptr(), len_bytes, visit) == Onward::Stop {
                        return Onward::Stop;
                    }
                }
                Some(level1)
            }
        };
        let this = stream as u32;
        stream += 1;
        let requester = this.checked_sub(first_stream).map(u16::try_from);
        let Some(Ok(requester)) = requester else {
            continue;
        };
        let entry = table
            .entry_at(this, level1)
            .and_then(|at| Ok((at, stream_table::load_valid(memory, at)?)));
        let Ok((at, Some(entry))) = entry else {
            continue;
        };
        let Ok(decoded) = rules.stream(at, entry) else {
            continue;
        };
        if visit_stream(rules, memory, requester, decoded.value, &mut seen, visit) == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

/// A structure of one or more frames, or part of one.
fn frames(phys: u64, len_bytes: u64, visit: Visitor<'_>) -> Onward {
    let first = phys / FRAME_BYTES;
    for frame in first..(phys + len_bytes).div_ceil(FRAME_BYTES) {
        let phys = frame * FRAME_BYTES;
        if visit(Reached::Table { phys }) == Onward::Stop {
            return Onward::Stop;
        }
    }
    Onward::Continue
}

fn visit_stream(
    rules: Rules,
    memory: &TableMemory,
    requester: u16,
    stream: Stream,
    seen: &mut Vec<u64>,
    visit: Visitor<'_>,
) -> Onward {
    let translating = match stream {
        Stream::Abort => return Onward::Continue,
        Stream::Bypass => return visit(Reached::All { requester }),
        Stream::Translate(translating) => translating,
    };
    let tables = match translating {
        Translating {
            stage2: Some(tables),
            ..
        } => tables,
        Translating {
            context: Some(at), ..
        } => {
            if frames(at, ENTRY_BYTES, visit) == Onward::Stop {
                return Onward::Stop;
            }
            let context = stream_table::load_context(memory, at)
                .and_then(|descriptor| rules.context(at, descriptor));
            let Ok(context) = context else {
                return Onward::Continue;
            };
            context.value.tables
        }
        _ => return Onward::Continue,
    };
    if seen.contains(&tables.root) {
        return Onward::Continue;
    }
    seen.push(tables.root);
    let walk = Walk {
        memory,
        tables,
        requester,
        privilege: translating.privilege,
    };
    walk.table(tables.top(), 0, visit)
}

/// A visit of one page table.
struct Walk<'a> {
    memory: &'a TableMemory,
    tables: Tables,
    requester: u16,
    privilege: PrivilegeConfig,
}

impl Walk<'_> {
    fn table(&self, table: TableAt, first: u64, visit: Visitor<'_>) -> Onward {
        let geometry: Geometry = self.tables.geometry;
        let level = table.level;
        if frames(table.address, geometry.table_bytes(level), visit) == Onward::Stop {
            return Onward::Stop;
        }
        let size_log2 = geometry.entry_log2(level);
        let descriptors = self.memory.occupied(table.address, geometry.entries(level));
        for (index, word) in descriptors {
            let bus = first + (index << size_log2);
            let decoded = descriptor::decode(self.tables.stage, geometry, level, word);
            let onward = match decoded {
                Descriptor::Invalid => continue,
                Descriptor::Leaf(leaf) => visit(Reached::Leaf {
                    requester: self.requester,
                    bus,
                    phys: leaf.output,
                    len_bytes: 1 << size_log2,
                    grant: self.privilege.most(table.grants.and(leaf.grants)),
                }),
                Descriptor::Table { next, grants } => {
                    let next = TableAt {
                        address: next,
                        level: level + 1,
                        grants: table.grants.and(grants),
                    };
                    self.table(next, bus, visit)
                }
            };
            if onward == Onward::Stop {
                return Onward::Stop;
            }
        }
        Onward::Continue
    }
}

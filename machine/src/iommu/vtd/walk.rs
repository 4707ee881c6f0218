//! The walk: root entry, context entry, then the second-stage table from its top level down (3.4, 3.7).

use hw::vtd::fault::FaultReason;
use hw::vtd::root::{self, RootEntry};
use hw::vtd::second_stage;

use super::entries::{Context, ContextFault, Decoded, Rules, TableAt, through};
use super::stage::Stage;
use crate::iommu::grant::Grant;
use crate::iommu::table_memory::TableMemory;

/// Where a walk of a second-stage table ended, and at which level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// A leaf that maps `2^(12 + 9 * (level - 1))` bytes at `phys`.
    Leaf { phys: u64, level: u32, grant: Grant },
    /// An entry that grants nothing.
    NotPresent { level: u32 },
    /// An entry that could not be read or used.
    Malformed {
        level: u32,
        reason: FaultReason,
        entry: u64,
    },
}

impl Rules {
    /// Reads the context entry of `requester`.
    pub(super) fn context(
        self,
        memory: &TableMemory,
        root_table: u64,
        requester: u16,
    ) -> Result<Context, ContextFault> {
        let unread = |reason| ContextFault {
            reason,
            silent: false,
            entry: [0; 2],
        };
        let at = root_table + root::root_index(requester) as u64 * root::ENTRY_BYTES;
        let words = memory
            .wide_entry(at)
            .map_err(|_| unread(FaultReason::RootTableUnreachable))?;
        let entry = RootEntry::from_words(words);
        let fault = |reason| ContextFault {
            reason,
            silent: false,
            entry: words,
        };
        if !entry.p() {
            return Err(fault(FaultReason::RootNotPresent));
        }
        if self.root_reserved(words) {
            return Err(fault(FaultReason::RootReserved));
        }
        let at = entry.ctp() + root::context_index(requester) as u64 * root::ENTRY_BYTES;
        let words = memory
            .wide_entry(at)
            .map_err(|_| fault(FaultReason::ContextTableUnreachable))?;
        self.decode_context(words)
    }

    /// Walks from `start`, a table of `stage` whose top is `levels`, to the leaf of `bus`. `passed` is told each
    /// table below `start` that the walk goes through.
    pub(super) fn second_stage(
        self,
        memory: &TableMemory,
        (levels, stage): (u32, Stage),
        start: TableAt,
        bus: u64,
        mut passed: impl FnMut(TableAt),
    ) -> WalkEnd {
        let mut table = start;
        loop {
            let level = table.level;
            let at =
                table.phys + second_stage::index(bus, level) as u64 * second_stage::ENTRY_BYTES;
            let Ok(word) = memory.entry(at) else {
                let reason = if level == levels {
                    stage.top_unreachable()
                } else {
                    stage.unreachable()
                };
                return WalkEnd::Malformed {
                    level,
                    reason,
                    entry: table.phys,
                };
            };
            match self.decode(word, level) {
                Decoded::NotPresent => return WalkEnd::NotPresent { level },
                Decoded::Reserved => {
                    let reason = stage.reserved();
                    return WalkEnd::Malformed {
                        level,
                        reason,
                        entry: word,
                    };
                }
                Decoded::Leaf(entry) => {
                    return WalkEnd::Leaf {
                        phys: entry.addr(),
                        level,
                        grant: through(table.grant, entry),
                    };
                }
                Decoded::Table(entry) => {
                    table = TableAt {
                        phys: entry.addr(),
                        level: level - 1,
                        grant: through(table.grant, entry),
                    };
                    passed(table);
                }
            }
        }
    }
}

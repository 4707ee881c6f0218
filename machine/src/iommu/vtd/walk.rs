//! The walk: legacy-mode root entry and context entry, and page tables of every stage from their top level down (3.4,
//! 3.6, 3.7).

use hw::vtd::fault::FaultReason;
use hw::vtd::root::{self, RootEntry};
use hw::vtd::second_stage::{self, Kind};

use super::entries::{Context, ContextFault, Decoded, Rules, TableAt};
use super::first_stage::Flags;
use super::stage::Stage;
use crate::bus::Access;
use crate::iommu::grant::Grant;
use crate::iommu::table_memory::TableMemory;

/// Where a walk of a page table ended, and at which level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// A leaf that maps `2^(12 + 9 * (level - 1))` bytes at `phys`.
    Leaf {
        phys: u64,
        level: u32,
        grant: Grant,
        /// Whether caches may hold it.
        remembered: bool,
    },
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

    /// Walks from `start`, a table of `stage` whose top is `levels`, to the leaf of the page that `access` wants. `passed`
    /// is told each table below `start` that the walk goes through.
    pub(super) fn walk(
        self,
        memory: &TableMemory,
        (levels, stage): (u32, Stage),
        start: TableAt,
        (bus, access): (u64, Access),
        mut passed: impl FnMut(TableAt),
    ) -> WalkEnd {
        let mut table = start;
        loop {
            let level = table.level;
            let malformed = |reason, entry| WalkEnd::Malformed {
                level,
                reason,
                entry,
            };
            let at =
                table.phys + second_stage::index(bus, level) as u64 * second_stage::ENTRY_BYTES;
            let Ok(word) = memory.entry(at) else {
                let reason = if level == levels {
                    stage.top_unreachable()
                } else {
                    stage.unreachable()
                };
                return malformed(reason, table.phys);
            };
            let (target, kind) = match self.decode(stage, word, level) {
                Decoded::NotPresent => return WalkEnd::NotPresent { level },
                Decoded::Malformed(reason) => return malformed(reason, word),
                Decoded::Leaf(target) => (target, Kind::Leaf),
                Decoded::Table(target) => (target, Kind::Table),
            };
            let grant = table.grant.and(target.grant.read, target.grant.write);
            let mut remembered = true;
            if let Stage::First(first) = stage {
                let permitted = Some(access).filter(|access| grant.allows(*access));
                match self.set_flags(memory, first, (at, word), kind, permitted) {
                    Ok(Flags::Set) => {}
                    Ok(Flags::Clean) => remembered = false,
                    Ok(Flags::Changed) => continue,
                    Err(reason) => return malformed(reason, word),
                }
            }
            let phys = target.phys;
            if kind == Kind::Leaf {
                return WalkEnd::Leaf {
                    phys,
                    level,
                    grant,
                    remembered,
                };
            }
            table = TableAt {
                phys,
                level: level - 1,
                grant,
            };
            passed(table);
        }
    }
}

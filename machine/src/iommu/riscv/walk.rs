//! The walks: the device directory to a context (2.3.1), and a page table from its top level down.

use hw::riscv::directory::{ContextFormat, ENTRY_BYTES};
use hw::riscv::fault::Cause;

use super::cache::Caches;
use super::entries::{Context, ContextFault, Rules, Stage, TableAt};
use super::page_entry::{self, Decoded};
use crate::iommu::grant::Grant;
use crate::iommu::table_memory::TableMemory;

/// Where a walk of a page table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// A leaf that maps `2^size_log2` bytes at `phys`.
    Leaf {
        phys: u64,
        size_log2: u32,
        grant: Grant,
        global: bool,
    },
    /// An entry that is not valid.
    NotValid,
    /// An entry with a reserved bit or encoding.
    Reserved { entry: u64 },
    /// An entry that could not be read.
    Unreachable { table: u64 },
}

/// The directory that `ddtp` points at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    pub(super) root: u64,
    pub(super) levels: u32,
}

impl Rules {
    /// Reads the context of `device`, through tables of the directory that are remembered.
    pub(super) fn context(
        self,
        memory: &TableMemory,
        caches: &mut Caches,
        directory: Directory,
        device: u32,
    ) -> Result<Context, ContextFault> {
        if device >> self.format.device_id_bits(directory.levels) != 0 {
            return Err(ContextFault {
                cause: Cause::TransactionDisallowed,
                entry: 0,
            });
        }
        let unreachable = |table| ContextFault {
            cause: Cause::DirectoryUnreachable,
            entry: table,
        };
        let mut table = directory.root;
        for level in (1..directory.levels).rev() {
            // The bits above this level and of it name the next table.
            let key = (level - 1, device >> self.format.device_id_bits(level));
            table = match caches.directory(key) {
                Some(next) => next,
                None => {
                    let at = table + self.format.index(device, level) as u64 * ENTRY_BYTES;
                    let word = memory.entry(at).map_err(|_| unreachable(table))?;
                    let next = self.decode_directory(word)?;
                    caches.insert_directory(key, next);
                    next
                }
            };
        }
        let at = table + self.format.index(device, 0) as u64 * self.format.context_bytes();
        let words = self.context_words(memory, at).ok_or(unreachable(table))?;
        self.decode_context(words)
    }

    /// The words of a context. They are read one by one, the valid bit first: a unit may do so in any order (2.1.2),
    /// and this one meets a context that was made valid too early.
    pub(super) fn context_words(self, memory: &TableMemory, at: u64) -> Option<[u64; 8]> {
        let count = match self.format {
            ContextFormat::Base => 4,
            ContextFormat::Extended => 8,
        };
        let mut words = [0; 8];
        for (word, at) in words.iter_mut().take(count).zip((at..).step_by(8)) {
            *word = memory.entry(at).ok()?;
        }
        Some(words)
    }

    /// Walks from `start`, a table of a stage whose top is `levels`, to the leaf of `bus`. `passed` is told each
    /// table below `start` that the walk goes through.
    pub(super) fn page_table(
        self,
        memory: &TableMemory,
        stage: Stage,
        levels: u32,
        start: TableAt,
        bus: u64,
        mut passed: impl FnMut(TableAt),
    ) -> WalkEnd {
        let mut table = start;
        loop {
            let index = page_entry::index(stage, table.level, levels, bus);
            let at = table.phys + index * page_entry::ENTRY_BYTES;
            let unreachable = WalkEnd::Unreachable { table: table.phys };
            if self.is_beyond_memory(at) {
                return unreachable;
            }
            let Ok(word) = memory.entry(at) else {
                return unreachable;
            };
            match page_entry::decode(word, table, stage) {
                Decoded::NotValid => return WalkEnd::NotValid,
                Decoded::Reserved => return WalkEnd::Reserved { entry: word },
                Decoded::Leaf {
                    phys,
                    size_log2,
                    grant,
                    global,
                } => {
                    return WalkEnd::Leaf {
                        phys,
                        size_log2,
                        grant,
                        global,
                    };
                }
                Decoded::Table(next) => {
                    table = next;
                    passed(table);
                }
            }
        }
    }
}

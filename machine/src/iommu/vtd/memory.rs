//! Memory as the unit's walks read it: through the machine's view, and behind the chipset's write buffers.
//!
//! With `CAP.RWBF` set, a store of the CPU to a table may wait in a buffer. The model cannot see the CPU's
//! stores, so it turns the matter round: a table once read is remembered as it was, until the buffers are
//! flushed (6.8).

use std::sync::Arc;

use board::ram::OutsideRam;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::config::WriteBuffer;
use crate::cache::MemoryView;

const TABLE_WORDS: usize = 512;
const TABLE_BYTES: u64 = 4096;

/// Where walks read root, context and page tables.
#[derive(Debug)]
pub(super) struct TableMemory {
    view: Arc<MemoryView>,
    /// Tables as they were when first read since the last flush.
    unflushed: Option<Mutex<FxHashMap<u64, Box<[u64; TABLE_WORDS]>>>>,
}

impl TableMemory {
    pub(super) fn new(view: Arc<MemoryView>, write_buffer: WriteBuffer) -> Self {
        let unflushed = match write_buffer {
            WriteBuffer::Transparent => None,
            WriteBuffer::NeedsFlush => Some(Mutex::default()),
        };
        Self { view, unflushed }
    }

    /// One page-table entry.
    pub(super) fn entry(&self, phys: u64) -> Result<u64, OutsideRam> {
        let Some(unflushed) = &self.unflushed else {
            return self.view.load_u64(phys);
        };
        let table = phys / TABLE_BYTES * TABLE_BYTES;
        let mut tables = unflushed.lock();
        let words = match tables.get(&table) {
            Some(words) => words,
            None => {
                let mut words = Box::new([0; TABLE_WORDS]);
                for (word, at) in words.iter_mut().zip((table..).step_by(8)) {
                    *word = self.view.load_u64(at)?;
                }
                tables.entry(table).or_insert(words)
            }
        };
        Ok(words[(phys % TABLE_BYTES / 8) as usize])
    }

    /// One root or context entry, fetched at once.
    pub(super) fn wide_entry(&self, phys: u64) -> Result<[u64; 2], OutsideRam> {
        match self.unflushed {
            None => self.view.load_u128(phys),
            Some(_) => Ok([self.entry(phys)?, self.entry(phys + 8)?]),
        }
    }

    /// The write buffers were flushed: by command, or as part of an invalidation.
    pub(super) fn flush_write_buffers(&self) {
        if let Some(unflushed) = &self.unflushed {
            unflushed.lock().clear();
        }
    }
}

//! Memory as a unit's walks read it: through the machine's view, and behind the chipset's write buffers.
//!
//! With VT-d's `CAP.RWBF` set, a store of the CPU to a table may wait in a buffer. The model cannot see the CPU's
//! stores, so it turns the matter round: a table once read is remembered as it was, until the buffers are
//! flushed (VT-d 6.8).

use std::sync::Arc;

use board::ram::OutsideRam;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::cache::MemoryView;

const TABLE_WORDS: usize = 512;
const TABLE_BYTES: u64 = 4096;

/// Whether stores of the CPU to tables wait in a buffer of the chipset (VT-d's `CAP.RWBF`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBuffer {
    /// No buffer that software would notice.
    Transparent,
    /// A table that was walked since the last flush is seen as it was then, until a write-buffer flush or an
    /// invalidation request.
    NeedsFlush,
}

/// Where walks read device tables and page tables.
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

    /// An entry of two words, fetched at once.
    pub(super) fn wide_entry(&self, phys: u64) -> Result<[u64; 2], OutsideRam> {
        match self.unflushed {
            None => self.view.load_u128(phys),
            Some(_) => Ok([self.entry(phys)?, self.entry(phys + 8)?]),
        }
    }

    /// An entry of `N` words, whose first word says whether the others count: read again while that changes.
    pub(super) fn words<const N: usize>(&self, phys: u64) -> Result<[u64; N], OutsideRam> {
        let mut words = [0; N];
        loop {
            for (word, at) in words.iter_mut().zip((phys..).step_by(8)) {
                *word = self.entry(at)?;
            }
            if words.first().copied() == Some(self.entry(phys)?) {
                return Ok(words);
            }
        }
    }

    /// Memory itself, for what is no table: queues.
    pub(super) fn view(&self) -> &MemoryView {
        &self.view
    }

    /// Sets `bits` in the page-table entry at `phys`, which was read as `word`; false if it is another one by now.
    pub(super) fn set_bits(&self, phys: u64, word: u64, bits: u64) -> Result<bool, OutsideRam> {
        if let Some(unflushed) = &self.unflushed {
            // An atomic access does not pass the stores before it.
            unflushed.lock().remove(&(phys / TABLE_BYTES * TABLE_BYTES));
        }
        self.view.set_bits(phys, word, bits)
    }

    /// The write buffers were flushed: by command, or as part of an invalidation.
    pub(super) fn flush_write_buffers(&self) {
        if let Some(unflushed) = &self.unflushed {
            unflushed.lock().clear();
        }
    }
}

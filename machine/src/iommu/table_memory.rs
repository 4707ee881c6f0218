//! Memory as a unit's walks read it: through the machine's view, and behind the chipset's write buffers.
//!
//! With VT-d's `CAP.RWBF` set, a store of the CPU to a table may wait in a buffer. The model cannot see the CPU's
//! stores, so it turns the matter round: a table once read is remembered as it was, until the buffers are
//! flushed (VT-d 6.8).

use std::sync::Arc;
use std::sync::atomic::Ordering;

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

    /// The first word of each of `count` entries of `entry_bytes` from `table` on, with its index: in order, and each read
    /// only when it is its turn, as the unit's walks would find it then. The first that cannot be read ends it.
    pub(super) fn first_words(
        &self,
        table: u64,
        count: u64,
        entry_bytes: u64,
    ) -> impl Iterator<Item = (u64, u64)> {
        // Most of what a visit reads is empty: where nothing stands between, the whole table is looked up once.
        let words = match self.unflushed {
            None => self.view.words(table, (count * entry_bytes / 8) as usize),
            Some(_) => None,
        };
        (0..count).map_while(move |index| {
            let at = index * entry_bytes;
            let word = match words {
                Some(words) => u64::from_le(words.get((at / 8) as usize)?.load(Ordering::Acquire)),
                None => self.entry(table + at).ok()?,
            };
            Some((index, word))
        })
    }

    /// The entries of a table of `count` words at `table`, as [`first_words`](Self::first_words), without those of zero:
    /// in every format they lead nowhere.
    pub(super) fn occupied(&self, table: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
        self.first_words(table, count, 8)
            .filter(|(_, word)| *word != 0)
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

#[cfg(test)]
mod tests {
    use board::ram::Ram;

    use super::*;
    use crate::cache::{CpuCaches, Snooping};
    use crate::temper::Temper;

    /// The last table of all memory, with words of which every third is zero.
    const TABLE: u64 = 0x7000;

    fn ram() -> Arc<Ram> {
        let ram = Ram::new(&[0..TABLE + TABLE_BYTES]).unwrap();
        for index in 0..512 {
            ram.store_u64(TABLE + 8 * index, index % 3).unwrap();
        }
        ram
    }

    fn walks(ram: &Arc<Ram>, write_buffer: WriteBuffer) -> TableMemory {
        let view = MemoryView::new(Arc::clone(ram), Snooping::On, 1);
        TableMemory::new(Arc::new(view), write_buffer)
    }

    #[test]
    fn a_table_is_read_as_its_entries_are() {
        let ram = ram();
        for write_buffer in [WriteBuffer::Transparent, WriteBuffer::NeedsFlush] {
            let memory = walks(&ram, write_buffer);
            let all: Vec<_> = (0..512).map(|index| (index, index % 3)).collect();
            let words: Vec<_> = memory.first_words(TABLE, 512, 8).collect();
            assert_eq!(words, all);
            let occupied: Vec<_> = memory.occupied(TABLE, 512).collect();
            assert_eq!(occupied.len(), 512 - 512_usize.div_ceil(3));
            assert!(occupied.iter().all(|one| one.1 != 0 && all.contains(one)));
            let wide: Vec<_> = memory.first_words(TABLE, 128, 32).collect();
            let every_fourth: Vec<_> = (0..128).map(|index| (index, 4 * index % 3)).collect();
            assert_eq!(wide, every_fourth);
        }
    }

    #[test]
    fn a_table_ends_where_memory_does() {
        let memory = walks(&ram(), WriteBuffer::Transparent);
        assert_eq!(memory.first_words(TABLE + 4096 - 16, 4, 8).count(), 2);
        assert_eq!(memory.first_words(TABLE + 4, 4, 8).count(), 0);
    }

    #[test]
    fn an_entry_is_read_when_it_is_its_turn() {
        let ram = ram();
        let memory = walks(&ram, WriteBuffer::Transparent);
        let mut words = memory.occupied(TABLE, 512);
        assert_eq!(words.next(), Some((1, 1)));
        ram.store_u64(TABLE + 16, 9).unwrap();
        assert_eq!(words.next(), Some((2, 9)));
    }

    #[test]
    fn walks_that_do_not_snoop_are_not_shown_what_is_in_caches() {
        let ram = ram();
        let caches = CpuCaches::new(ram, Temper::Keep, 1).unwrap();
        let view = MemoryView::beside(caches);
        let memory = TableMemory::new(Arc::new(view), WriteBuffer::Transparent);
        for (index, word) in memory.first_words(TABLE, 512, 8) {
            assert_eq!(Ok(word), memory.entry(TABLE + 8 * index));
            assert_ne!(word, index % 3);
        }
        // Its first line is in memory now.
        memory.view().clean(TABLE, 8);
        let first: Vec<_> = memory.occupied(TABLE, 4).take(2).collect();
        assert_eq!(first, [(1, 1), (2, 2)]);
    }
}

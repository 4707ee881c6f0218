//! Physical region pages: where a command's data lies in memory.
//!
//! The first entry may start anywhere in a memory page, every later one starts at a page. Two pages fit the
//! command itself; beyond that its second entry points at a list, whose last entry in a page points at the next
//! list when more than one page is still to come (NVM Express base specification 1.2, section 4.3).

use crate::bus::BusRun;

/// Why the pages of a command cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrpError<E> {
    /// An entry's offset within its page is not what its place demands.
    Offset {
        /// The entry.
        entry: u64,
    },
    /// A list could not be fetched.
    List {
        /// Where it was expected.
        bus: u64,
        /// Why.
        source: E,
    },
}

/// The two entries of a command and the memory page size they are meant in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prp {
    /// PRP entry 1.
    pub(crate) first: u64,
    /// PRP entry 2.
    pub(crate) second: u64,
    /// Bytes in a memory page (`CC.MPS`), a power of two.
    pub(crate) page_bytes: u64,
}

impl Prp {
    /// Replaces `runs` by the addresses that hold `len_bytes` bytes, fetching lists with `fetch`. Pages that
    /// follow one another are one run.
    ///
    /// `fetch` fills its buffer from one page, from the entry that is needed up to the last one that is.
    pub(crate) fn walk<E>(
        self,
        len_bytes: u64,
        runs: &mut Vec<BusRun>,
        mut fetch: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), PrpError<E>> {
        runs.clear();
        let page = self.page_bytes;
        let offset = self.first % page;
        if !offset.is_multiple_of(4) {
            return Err(PrpError::Offset { entry: self.first });
        }
        let in_first = len_bytes.min(page - offset);
        push(runs, self.first, in_first);
        let mut left = len_bytes - in_first;
        if left == 0 {
            return Ok(());
        }
        if left <= page {
            push(runs, self.whole_page(self.second)?, left);
            return Ok(());
        }

        if !self.second.is_multiple_of(8) {
            return Err(PrpError::Offset { entry: self.second });
        }
        let mut list = self.second;
        let mut entries = Vec::new();
        loop {
            let room = (page - list % page) / 8;
            let wanted = left.div_ceil(page);
            entries.resize(8 * wanted.min(room) as usize, 0);
            fetch(list, &mut entries).map_err(|source| PrpError::List { bus: list, source })?;
            let mut words = entries
                .as_chunks::<8>()
                .0
                .iter()
                .map(|word| u64::from_le_bytes(*word));
            let data_entries = if wanted > room { room - 1 } else { wanted };
            for entry in words.by_ref().take(data_entries as usize) {
                let len = left.min(page);
                push(runs, self.whole_page(entry)?, len);
                left -= len;
            }
            // What is left over in the page is the pointer to the next list.
            match words.next() {
                Some(next) => list = self.whole_page(next)?,
                None => return Ok(()),
            }
        }
    }

    fn whole_page<E>(self, entry: u64) -> Result<u64, PrpError<E>> {
        if entry.is_multiple_of(self.page_bytes) {
            Ok(entry)
        } else {
            Err(PrpError::Offset { entry })
        }
    }
}

/// Appends a run, to the last one where it continues it.
fn push(runs: &mut Vec<BusRun>, bus: u64, len_bytes: u64) {
    if let Some(last) = runs.last_mut()
        && last.bus.checked_add(last.len_bytes) == Some(bus)
    {
        last.len_bytes += len_bytes;
        return;
    }
    runs.push(BusRun { bus, len_bytes });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const PAGE: u64 = 4096;

    /// Walks with lists that live in `memory`, by address of each 8-byte entry.
    fn walk(
        first: u64,
        second: u64,
        len_bytes: u64,
        memory: &HashMap<u64, u64>,
    ) -> Result<Vec<(u64, u64)>, PrpError<()>> {
        let mut runs = vec![BusRun {
            bus: 1,
            len_bytes: 1,
        }];
        Prp {
            first,
            second,
            page_bytes: PAGE,
        }
        .walk(len_bytes, &mut runs, |bus, into| {
            assert_eq!(
                bus / PAGE,
                (bus + into.len() as u64 - 1) / PAGE,
                "fetch within one page"
            );
            for (i, word) in into.chunks_exact_mut(8).enumerate() {
                let entry = memory.get(&(bus + 8 * i as u64)).ok_or(())?;
                word.copy_from_slice(&entry.to_le_bytes());
            }
            Ok(())
        })?;
        Ok(runs.iter().map(|s| (s.bus, s.len_bytes)).collect())
    }

    fn list(at: u64, entries: &[u64]) -> HashMap<u64, u64> {
        entries
            .iter()
            .enumerate()
            .map(|(i, &entry)| (at + 8 * i as u64, entry))
            .collect()
    }

    #[test]
    fn one_page_needs_no_second_entry() {
        let none = HashMap::new();
        assert_eq!(walk(0x5200, u64::MAX, 512, &none), Ok(vec![(0x5200, 512)]));
        assert_eq!(
            walk(0x5000, u64::MAX, 4096, &none),
            Ok(vec![(0x5000, 4096)])
        );
    }

    #[test]
    fn two_pages_take_the_second_entry_as_data() {
        let none = HashMap::new();
        let two = walk(0x5800, 0x9000, 4096, &none);
        assert_eq!(two, Ok(vec![(0x5800, 2048), (0x9000, 2048)]));
        assert_eq!(walk(0x5000, 0x6000, 8192, &none), Ok(vec![(0x5000, 8192)]));
    }

    #[test]
    fn three_pages_take_the_second_entry_as_a_list_at_any_qword() {
        let memory = list(0xff8 - 8, &[0x9000, 0x7000]);
        let three = walk(0x5000, 0xff0, 3 * 4096 - 512, &memory);
        assert_eq!(
            three,
            Ok(vec![(0x5000, 4096), (0x9000, 4096), (0x7000, 3584)])
        );
    }

    #[test]
    fn a_full_list_page_chains_only_when_more_than_its_last_entry_is_left() {
        // Two entries of room: the last one is data if it is the last page ...
        let exact = list(0x10ff0, &[0x20000, 0x30000]);
        assert_eq!(walk(0x5000, 0x10ff0, 3 * 4096, &exact).unwrap().len(), 3);
        // ... and a pointer to the next list otherwise.
        let mut chained = list(0x10ff0, &[0x20000, 0x11000]);
        chained.extend(list(0x11000, &[0x30000, 0x40000]));
        assert_eq!(
            walk(0x5000, 0x10ff0, 4 * 4096, &chained),
            Ok(vec![
                (0x5000, 4096),
                (0x20000, 4096),
                (0x30000, 4096),
                (0x40000, 4096)
            ])
        );
    }

    #[test]
    fn a_list_that_starts_in_the_last_entry_of_its_page_is_only_a_pointer() {
        let mut memory = list(0x10ff8, &[0x11000]);
        memory.extend(list(0x11000, &[0x20000, 0x40000]));
        assert_eq!(
            walk(0x5000, 0x10ff8, 3 * 4096, &memory),
            Ok(vec![(0x5000, 4096), (0x20000, 4096), (0x40000, 4096)])
        );
    }

    #[test]
    fn long_chains_cover_every_byte_once() {
        let pages = 2000u64;
        let mut memory = HashMap::new();
        let (mut slot, mut next_list) = (0x100_0000, 0x101_0000);
        for page in 1..pages {
            if slot % PAGE == PAGE - 8 && page != pages - 1 {
                memory.insert(slot, next_list);
                slot = next_list;
                next_list += 0x1_0000;
            }
            memory.insert(slot, 0x4000_0000 + page * 0x2000);
            slot += 8;
        }
        let segments = walk(0x4000_0000, 0x100_0000, pages * PAGE, &memory).unwrap();
        let expected: Vec<_> = (0..pages)
            .map(|page| (0x4000_0000 + page * 0x2000, 4096))
            .collect();
        assert_eq!(segments, expected);
    }

    #[test]
    fn offsets_are_refused_where_the_place_forbids_them() {
        let none = HashMap::new();
        let offset = |entry| Err(PrpError::Offset { entry });
        assert_eq!(walk(0x5002, 0, 512, &none), offset(0x5002));
        assert_eq!(walk(0x5000, 0x9004, 8192, &none), offset(0x9004));
        assert_eq!(walk(0x5000, 0x9004, 3 * 4096, &none), offset(0x9004));
        assert_eq!(
            walk(0x5000, 0x8000, 3 * 4096, &list(0x8000, &[0x9000, 0xa200])),
            offset(0xa200)
        );
        let chained = list(0x8ff0, &[0x9000, 0xb008]);
        assert_eq!(walk(0x5000, 0x8ff0, 5 * 4096, &chained), offset(0xb008));
    }

    #[test]
    fn an_unreadable_list_is_told_with_its_address() {
        let error = walk(0x5000, 0x9000, 3 * 4096, &HashMap::new());
        assert_eq!(
            error,
            Err(PrpError::List {
                bus: 0x9000,
                source: ()
            })
        );
    }
}

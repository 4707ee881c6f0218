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
mod tests;

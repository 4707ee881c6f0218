//! Physical region pages: how a command tells the controller where its data lies (NVMe Base 2.0, 4.1.1).
//!
//! A command has room for two entries. The first names the first page, at any 4-byte offset in it; the second
//! the second page, or, when there are more, a list of pages. A full list page's last entry names the next
//! list page. The lists lie in coherent memory that every command slot owns from bring-up on, so building
//! one allocates nothing and cannot fail for want of memory.

use alloc::vec::Vec;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::device::Device;
use dmamap::map::{Coherent, CoherentError};
use dmamap::platform::Platform;

/// The memory page size the driver selects in CC.MPS, as a power of two.
pub(crate) const PAGE_SIZE_LOG2: u32 = 12;
/// Bytes of such a page.
pub(crate) const PAGE_BYTES: u64 = 1 << PAGE_SIZE_LOG2;
/// Entries of one list page.
const LIST_ENTRIES: usize = (PAGE_BYTES / 8) as usize;

/// Why a mapping cannot be described to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrpError {
    /// The first byte of the data is not at a multiple of four.
    #[error("the data starts at {at}, which is not a multiple of 4 bytes")]
    Misaligned {
        /// Where it starts.
        at: BusAddr,
    },
    /// A piece other than the first does not start at a page, or one other than the last does not end at one.
    #[error(
        "the data has a gap at {at}: only its first piece may start, and its last end, inside a page"
    )]
    Gap {
        /// Where the page is entered or left in its middle.
        at: BusAddr,
    },
    /// The mapping has fewer bytes than the command moves.
    #[error("the mapping ends {missing_bytes} bytes before the data does")]
    TooShort {
        /// How many are missing.
        missing_bytes: u64,
    },
    /// The data needs more list pages than a slot has.
    #[error("the data needs more than the {list_pages} list pages of a command")]
    TooLong {
        /// What there is.
        list_pages: usize,
    },
}

/// The two entries of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prps {
    pub(crate) first: u64,
    pub(crate) second: u64,
}

impl Prps {
    /// Of a command that moves no data.
    pub(crate) const NONE: Self = Self {
        first: 0,
        second: 0,
    };
}

/// The list pages of one command slot.
pub(crate) struct PrpLists<P: Platform> {
    pages: Vec<Coherent<P, u64>>,
}

impl<P: Platform> PrpLists<P> {
    /// Lists long enough for transfers of `max_transfer_bytes` that start anywhere in a page.
    pub(crate) fn allocate(
        device: &Device<P>,
        max_transfer_bytes: u64,
    ) -> Result<Self, CoherentError> {
        let pages = (0..list_pages_for(max_transfer_bytes))
            .map(|_| device.alloc_coherent::<u64>(LIST_ENTRIES))
            .collect::<Result<_, _>>()?;
        Ok(Self { pages })
    }

    /// Describes the first `len_bytes` bytes of `segments`.
    pub(crate) fn build(
        &mut self,
        segments: impl Iterator<Item = BusRange>,
        len_bytes: u64,
    ) -> Result<Prps, PrpError> {
        describe(&mut self.pages, segments, len_bytes)
    }
}

/// List pages as [`describe`] needs them.
trait Lists {
    fn count(&self) -> usize;
    fn bus_addr(&self, list: usize) -> BusAddr;
    fn write(&mut self, list: usize, entry: usize, page: u64);
}

impl<P: Platform> Lists for Vec<Coherent<P, u64>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn bus_addr(&self, list: usize) -> BusAddr {
        self[list].bus_addr()
    }

    fn write(&mut self, list: usize, entry: usize, page: u64) {
        self[list]
            .write(entry, page)
            .expect("entries are below LIST_ENTRIES");
    }
}

/// How many list pages the longest transfer needs.
fn list_pages_for(max_transfer_bytes: u64) -> usize {
    // One page more than its length says when it starts inside a page; the first is named by the command.
    let entries = max_transfer_bytes.div_ceil(PAGE_BYTES);
    let entries = usize::try_from(entries).unwrap_or(usize::MAX);
    match entries {
        0 | 1 => 0,
        // Every list page but the last gives its last entry to the link.
        _ => {
            1 + entries
                .saturating_sub(LIST_ENTRIES)
                .div_ceil(LIST_ENTRIES - 1)
        }
    }
}

fn describe(
    lists: &mut impl Lists,
    segments: impl Iterator<Item = BusRange>,
    len_bytes: u64,
) -> Result<Prps, PrpError> {
    let mut pages = Pages::new(segments, len_bytes);
    let too_short = PrpError::TooShort {
        missing_bytes: len_bytes,
    };
    let first = pages.next().ok_or(too_short)??;
    if !first.is_aligned(2) {
        return Err(PrpError::Misaligned { at: first });
    }
    let first = first.as_u64();
    let Some(second) = pages.next().transpose()? else {
        return Ok(Prps { first, second: 0 });
    };
    let Some(third) = pages.next().transpose()? else {
        return Ok(Prps {
            first,
            second: second.as_u64(),
        });
    };
    let too_long = PrpError::TooLong {
        list_pages: lists.count(),
    };
    if lists.count() == 0 {
        return Err(too_long);
    }
    lists.write(0, 0, second.as_u64());
    let (mut list, mut entry, mut next) = (0, 1, Some(third));
    while let Some(page) = next {
        next = pages.next().transpose()?;
        if entry == LIST_ENTRIES - 1 && next.is_some() {
            if list + 1 == lists.count() {
                return Err(too_long);
            }
            lists.write(list, entry, lists.bus_addr(list + 1).as_u64());
            (list, entry) = (list + 1, 0);
        }
        lists.write(list, entry, page.as_u64());
        entry += 1;
    }
    Ok(Prps {
        first,
        second: lists.bus_addr(0).as_u64(),
    })
}

/// Cuts segments into pages: the first from where it starts, every other from the page's start.
struct Pages<I> {
    segments: I,
    rest: Option<BusRange>,
    missing_bytes: u64,
    first: bool,
}

impl<I: Iterator<Item = BusRange>> Pages<I> {
    fn new(segments: I, len_bytes: u64) -> Self {
        Self {
            segments,
            rest: None,
            missing_bytes: len_bytes,
            first: true,
        }
    }

    fn page(&mut self) -> Result<BusAddr, PrpError> {
        let piece = match self.rest.take() {
            Some(piece) => piece,
            None => self
                .segments
                .by_ref()
                .find(|segment| !segment.is_empty())
                .ok_or(PrpError::TooShort {
                    missing_bytes: self.missing_bytes,
                })?,
        };
        let start = piece.start();
        let in_page = start.as_u64() & (PAGE_BYTES - 1);
        if in_page != 0 && !self.first {
            return Err(PrpError::Gap { at: start });
        }
        self.first = false;
        let taken = piece.len_bytes().min(PAGE_BYTES - in_page);
        self.missing_bytes = self.missing_bytes.saturating_sub(taken);
        if self.missing_bytes > 0 && in_page + taken != PAGE_BYTES {
            return Err(PrpError::Gap { at: piece.last() });
        }
        self.rest = piece
            .slice(taken, piece.len_bytes() - taken)
            .filter(|rest| !rest.is_empty());
        Ok(start)
    }
}

impl<I: Iterator<Item = BusRange>> Iterator for Pages<I> {
    type Item = Result<BusAddr, PrpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.missing_bytes == 0 {
            None
        } else {
            Some(self.page())
        }
    }
}

#[cfg(test)]
#[path = "prp_tests.rs"]
mod tests;

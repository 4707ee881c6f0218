//! Several pieces of owned memory in one list: what `map_sgtable` takes and gives back.

use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

use super::DmaMemory;
use crate::addr::PhysRange;
use crate::pagetable::PhysList;

/// Why a piece was not added to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The heap has no room for so many entries.
    #[error("no memory for a list of {room} entries")]
    OutOfMemory {
        /// Entries asked for.
        room: usize,
    },
    /// The list holds as many entries as it was made for.
    #[error("the list was made for {room} entries and holds as many")]
    Full {
        /// Entries it was made for.
        room: usize,
    },
    /// A list that was to be empty is not.
    #[error("the list has {len} entries: one without is asked for")]
    NotEmpty {
        /// Entries it has.
        len: usize,
    },
    /// There is no byte in the piece.
    #[error("a piece of no bytes")]
    Empty,
    /// The piece leaves the buffer.
    #[error(
        "{len_bytes:#x} bytes at offset {offset:#x} leave the buffer of {whole_bytes:#x} bytes"
    )]
    OutOfBounds {
        /// Offset asked for, in bytes.
        offset: u64,
        /// Bytes asked for.
        len_bytes: u64,
        /// Bytes the buffer has.
        whole_bytes: u64,
    },
    /// The list would have more bytes than can be counted.
    #[error("{len_bytes:#x} bytes more than fit a list")]
    TooLong {
        /// Bytes of the piece.
        len_bytes: u64,
    },
}

/// A piece that was not added to a list, with the memory it was to be of.
pub struct NotAdded<B> {
    /// Why.
    pub error: ListError,
    /// The memory.
    pub buffer: B,
}

impl<B> fmt::Debug for NotAdded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotAdded")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Display for NotAdded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<B> core::error::Error for NotAdded<B> {}

/// A piece of a list: bytes of a buffer that the list owns.
pub struct ListEntry<B> {
    buffer: B,
    offset: u64,
    len_bytes: u64,
}

impl<B: DmaMemory> ListEntry<B> {
    /// The buffer, of which the piece may be a part.
    pub fn buffer(&self) -> &B {
        &self.buffer
    }

    /// The buffer, to change it. A buffer in its stead must have the piece as well, else the list is not mapped.
    pub fn buffer_mut(&mut self) -> &mut B {
        &mut self.buffer
    }

    /// Where in the buffer the piece begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the piece.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The buffer, for good.
    pub fn into_buffer(self) -> B {
        self.buffer
    }

    /// Y: the physically contiguous run from byte `within` of the piece on.
    fn phys(&self, within: u64) -> PhysRange {
        let run = self.buffer.segment(self.offset + within);
        let left = self.len_bytes - within;
        run.slice(0, run.len_bytes().min(left))
            .expect("a run's beginning is part of it")
    }
}

/// Pieces of owned memory, in the order in which a device meets them (`struct sg_table`). Room for all of them is made at
/// once, so that mapping takes nothing from the heap.
///
/// ```
/// # use board as _;
/// use dmamap::buffer::{DmaBuffer, ScatterList};
/// # fn example<P: dmamap::platform::Platform>(device: &dmamap::device::Device<P>) -> Result<(), Box<dyn std::error::Error>> {
/// # let platform = device.platform();
/// let mut list = ScatterList::with_room(2)?;
/// list.push(DmaBuffer::allocate(platform, 4096)?).map_err(|refused| refused.error)?;
/// list.push_part(DmaBuffer::allocate(platform, 4096)?, 512, 100).map_err(|refused| refused.error)?;
/// assert_eq!((list.len(), list.len_bytes()), (2, 4196));
///
/// let mapping = device.map_sgtable(list, dmamap::map::ToDevice).map_err(|refused| refused.error)?;
/// for segment in mapping.segments() {
///     // … tell the device of it …
/// }
/// let list = mapping.unmap()?;
/// assert_eq!(list.len(), 2);
/// # Ok(())
/// # }
/// ```
pub struct ScatterList<B> {
    entries: Vec<ListEntry<B>>,
    room: usize,
    len_bytes: u64,
}

impl<B: DmaMemory> ScatterList<B> {
    /// An empty list that `room` pieces can be added to.
    ///
    /// # Errors
    /// [`ListError::OutOfMemory`].
    pub fn with_room(room: usize) -> Result<Self, ListError> {
        let mut entries = Vec::new();
        entries
            .try_reserve_exact(room)
            .map_err(|_| ListError::OutOfMemory { room })?;
        Ok(Self {
            entries,
            room,
            len_bytes: 0,
        })
    }

    /// Adds all of `buffer`.
    ///
    /// # Errors
    /// [`NotAdded`] gives it back.
    pub fn push(&mut self, buffer: B) -> Result<(), NotAdded<B>> {
        let len_bytes = buffer.len_bytes();
        self.push_part(buffer, 0, len_bytes)
    }

    /// Adds the `len_bytes` bytes from byte `offset` of `buffer` on. The list owns the whole buffer, and the device may reach
    /// all of the frames the piece touches.
    ///
    /// # Errors
    /// [`NotAdded`] gives it back.
    pub fn push_part(&mut self, buffer: B, offset: u64, len_bytes: u64) -> Result<(), NotAdded<B>> {
        match self.check(&buffer, offset, len_bytes) {
            Ok(total) => {
                self.len_bytes = total;
                self.entries.push(ListEntry {
                    buffer,
                    offset,
                    len_bytes,
                });
                Ok(())
            }
            Err(error) => Err(NotAdded { error, buffer }),
        }
    }

    /// Bytes of the list with the piece in it.
    fn check(&self, buffer: &B, offset: u64, len_bytes: u64) -> Result<u64, ListError> {
        let whole_bytes = buffer.len_bytes();
        if len_bytes == 0 {
            return Err(ListError::Empty);
        }
        if offset
            .checked_add(len_bytes)
            .is_none_or(|end| end > whole_bytes)
        {
            return Err(ListError::OutOfBounds {
                offset,
                len_bytes,
                whole_bytes,
            });
        }
        if self.entries.len() == self.room {
            return Err(ListError::Full { room: self.room });
        }
        self.len_bytes
            .checked_add(len_bytes)
            .ok_or(ListError::TooLong { len_bytes })
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Pieces that can still be added.
    pub fn room_left(&self) -> usize {
        self.room - self.entries.len()
    }

    /// Bytes of all pieces.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The pieces, in order.
    pub fn entries(&self) -> &[ListEntry<B>] {
        &self.entries
    }

    /// Piece number `index`, to change its memory; `None` past the end.
    pub fn entry_mut(&mut self, index: usize) -> Option<&mut ListEntry<B>> {
        self.entries.get_mut(index)
    }

    /// Takes the last piece off.
    pub fn pop(&mut self) -> Option<ListEntry<B>> {
        let last = self.entries.pop()?;
        self.len_bytes -= last.len_bytes;
        Some(last)
    }

    /// The pieces, for good.
    pub fn into_entries(self) -> impl Iterator<Item = ListEntry<B>> {
        self.entries.into_iter()
    }

    /// The physically contiguous runs of all pieces, or of those from number `first` on.
    pub(crate) fn pieces_from(&self, first: usize) -> ListPieces<'_, B> {
        ListPieces {
            entries: &self.entries[first.min(self.entries.len())..],
            at: (0, 0),
        }
    }

    /// Calls `visit` with each run of CPU memory in the `len_bytes` bytes from `offset` on, and with how many bytes came
    /// before it.
    pub(crate) fn each_chunk(
        &self,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(NonNull<u8>, usize, usize),
    ) {
        let (mut skip, mut done) = (offset, 0);
        for entry in &self.entries {
            if skip >= entry.len_bytes {
                skip -= entry.len_bytes;
                continue;
            }
            let count = (entry.len_bytes - skip).min(len_bytes - done);
            if count == 0 {
                break;
            }
            // SAFETY: the offset is inside the piece, which is inside the buffer's memory.
            let start = unsafe { entry.buffer.pointer().add((entry.offset + skip) as usize) };
            visit(start, count as usize, done as usize);
            done += count;
            skip = 0;
        }
    }
}

impl<B: DmaMemory> fmt::Debug for ScatterList<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScatterList({} bytes in {} pieces)",
            self.len_bytes,
            self.len()
        )
    }
}

/// The physically contiguous runs of a list, in order.
pub(crate) struct ListPieces<'a, B> {
    entries: &'a [ListEntry<B>],
    /// The entry whose turn it is, and how many bytes of it were met.
    at: (usize, u64),
}

impl<B: DmaMemory> PhysList for ListPieces<'_, B> {
    fn restart(&mut self) {
        self.at = (0, 0);
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let (index, within) = self.at;
        let entry = self.entries.get(index)?;
        let run = entry.phys(within);
        self.at = match within + run.len_bytes() {
            done if done < entry.len_bytes => (index, done),
            _ => (index + 1, 0),
        };
        Some(run)
    }
}

impl<B: DmaMemory> Iterator for ListPieces<'_, B> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        self.next_range()
    }
}

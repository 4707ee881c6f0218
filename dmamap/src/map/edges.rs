//! Memory that does not own whole pages, cut where its own pages begin and end.

use crate::addr::PhysRange;
use crate::map::backing::{Backing, Side};
use crate::map::place::Memory;
use crate::pagetable::PhysList;

/// How much of some memory can be mapped as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// All of it.
    InPlace,
    /// None.
    Whole,
    /// What lies between the first and the last page.
    Edges {
        /// What lies in the first page, if others' memory may too.
        head: Option<PhysRange>,
        /// What lies in the last page, if others' memory may too.
        tail: Option<PhysRange>,
    },
}

/// Cuts `memory` at pages of `2^page_log2` bytes. Where its frames are not `shared`, frames are whole, but pages larger than
/// a frame need not be.
pub(crate) fn cut(memory: &mut Memory<'_>, page_log2: u32, shared: bool) -> Cut {
    let page_bytes = 1u64 << page_log2;
    let frame_bytes = crate::addr::FRAME_BYTES;
    if !shared && page_bytes == frame_bytes {
        return Cut::InPlace;
    }
    let start = memory.first.start().as_u64();
    // What is the memory's own, as the first byte and the byte after the last.
    let (own_start, own_end) = match shared {
        true => (start, start.wrapping_add(memory.len_bytes)),
        false => {
            let frame = start / frame_bytes * frame_bytes;
            let end = (start - frame + memory.len_bytes).next_multiple_of(frame_bytes);
            (frame, frame.wrapping_add(end))
        }
    };
    let head_is_whole = own_start.is_multiple_of(page_bytes);
    let tail_is_whole = own_end.is_multiple_of(page_bytes);
    let inner_ends_are_whole = inner_ends_are_whole(memory, page_bytes);
    match (head_is_whole && tail_is_whole, inner_ends_are_whole) {
        (true, true) => return Cut::InPlace,
        (_, false) => return Cut::Whole,
        _ => {}
    }
    let in_page = start % page_bytes;
    let head_bytes = match head_is_whole {
        true => 0,
        false => page_bytes - in_page,
    };
    let past_end = (in_page + memory.len_bytes) % page_bytes;
    let tail_bytes = match tail_is_whole {
        true => 0,
        false => past_end,
    };
    let last = last_piece(memory);
    let middle = memory.len_bytes.checked_sub(head_bytes + tail_bytes);
    let head = memory.first.slice(0, head_bytes);
    let tail_start = last.len_bytes().checked_sub(tail_bytes);
    let tail = tail_start.and_then(|start| last.slice(start, tail_bytes));
    match (middle, head, tail) {
        (Some(1..), Some(head), Some(tail)) => Cut::Edges {
            head: Some(head).filter(|head| !head.is_empty()),
            tail: Some(tail).filter(|tail| !tail.is_empty()),
        },
        _ => Cut::Whole,
    }
}

fn last_piece(memory: &mut Memory<'_>) -> PhysRange {
    let mut last = memory.first;
    memory.pieces.restart();
    while let Some(piece) = memory.pieces.next_range() {
        last = piece;
    }
    last
}

/// Whether every piece but the first begins, and every piece but the last ends, where a page does; of pages of frames'
/// size the callers have seen to that.
pub(crate) fn inner_ends_are_whole(memory: &mut Memory<'_>, page_bytes: u64) -> bool {
    let mut before: Option<PhysRange> = None;
    memory.pieces.restart();
    while let Some(piece) = memory.pieces.next_range() {
        if let Some(before) = before {
            let end = before.start().as_u64().wrapping_add(before.len_bytes());
            let begins = piece.start().as_u64().is_multiple_of(page_bytes);
            // Pieces that follow each other in memory are one.
            let follows = end == piece.start().as_u64();
            let ends = end.is_multiple_of(page_bytes);
            if !(follows || begins && ends) {
                return false;
            }
        }
        before = Some(piece);
    }
    true
}

/// A stretch of what a device is given of some memory.
pub(crate) enum Given {
    /// The memory itself.
    InPlace(PhysRange),
    /// A copy of it.
    Copy(PhysRange),
}

/// What a device is given of some memory, in order: its pieces, and copies in place of what is copied.
pub(crate) struct GivenList<'a, 'b> {
    pieces: &'a mut dyn PhysList,
    whole: u64,
    backing: &'b Backing,
    /// Bytes of the memory that were yielded.
    done: u64,
    /// What is left of a piece.
    piece: Option<PhysRange>,
}

impl<'a, 'b> GivenList<'a, 'b> {
    pub(crate) fn new(memory: &'a mut Memory<'_>, backing: &'b Backing) -> Self {
        memory.pieces.restart();
        Self {
            pieces: memory.pieces,
            whole: memory.len_bytes,
            backing,
            done: 0,
            piece: None,
        }
    }

    pub(crate) fn next(&mut self) -> Option<Given> {
        if self.done >= self.whole {
            return None;
        }
        match self.backing.side(self.done, self.whole) {
            (Side::Buffer, left) => self.take(left).map(Given::InPlace),
            (Side::Copy(run, _), left) => {
                let end = self.done + left;
                while self.done < end {
                    self.take(end - self.done)?;
                }
                Some(Given::Copy(run.bytes()))
            }
        }
    }

    /// Takes up to `len_bytes` bytes of one piece.
    fn take(&mut self, len_bytes: u64) -> Option<PhysRange> {
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None => self.pieces.next_range()?,
        };
        let len = piece.len_bytes().min(len_bytes);
        self.piece = piece
            .slice(len, piece.len_bytes() - len)
            .filter(|rest| !rest.is_empty());
        self.done += len;
        piece.slice(0, len)
    }
}

impl PhysList for GivenList<'_, '_> {
    fn restart(&mut self) {
        self.pieces.restart();
        self.piece = None;
        self.done = 0;
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        self.next().map(|given| match given {
            Given::InPlace(range) | Given::Copy(range) => range,
        })
    }
}

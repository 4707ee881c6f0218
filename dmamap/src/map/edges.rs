//! Memory that does not own whole pages, cut where its own pages begin and end.

use crate::addr::PhysRange;
use crate::bounce::Run;
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
fn inner_ends_are_whole(memory: &mut Memory<'_>, page_bytes: u64) -> bool {
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

/// The pieces of some memory, with copies in place of its ends.
pub(crate) struct EdgedList<'a, 'b> {
    pieces: &'a mut dyn PhysList,
    whole: u64,
    head: Option<&'b Run>,
    tail: Option<&'b Run>,
    /// Bytes of the memory that were yielded.
    done: u64,
    /// What is left of a piece.
    piece: Option<PhysRange>,
}

impl<'a, 'b> EdgedList<'a, 'b> {
    pub(crate) fn new(
        memory: &'a mut Memory<'_>,
        head: Option<&'b Run>,
        tail: Option<&'b Run>,
    ) -> Self {
        memory.pieces.restart();
        Self {
            pieces: memory.pieces,
            whole: memory.len_bytes,
            head,
            tail,
            done: 0,
            piece: None,
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

impl PhysList for EdgedList<'_, '_> {
    fn restart(&mut self) {
        self.pieces.restart();
        self.piece = None;
        self.done = 0;
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let tail_start = self.whole - self.tail.map_or(0, Run::len_bytes);
        match (self.head, self.tail) {
            (Some(head), _) if self.done < head.len_bytes() => {
                self.take(head.len_bytes());
                Some(head.bytes())
            }
            (_, Some(tail)) if self.done >= tail_start && self.done < self.whole => {
                self.done = self.whole;
                Some(tail.bytes())
            }
            _ if self.done < tail_start => self.take(tail_start - self.done),
            _ => None,
        }
    }
}

//! The translated route: Z is chosen for this device alone and recorded in its domain's tables.

use crate::addr::{BusRange, DmaMask, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::{MapFailure, Permission};
use crate::pagetable::PhysList;
use crate::platform::Platform;

/// log2 of the leaves worth aligning for, largest first.
const LARGE_LEAVES_LOG2: [u32; 2] = [30, 21];

/// Maps `memory`, pieces whose inner ends lie on frame boundaries, at consecutive bus addresses within
/// `mask`. Whole frames become reachable; the range returned starts at the first byte and is `len_bytes` long.
pub(crate) fn map<P: Platform>(
    domain: &Domain<P>,
    mask: DmaMask,
    first: PhysRange,
    len_bytes: u64,
    memory: &mut dyn PhysList,
    permission: Permission,
) -> Result<BusRange, MapFailure> {
    let head = first.start().frame_offset();
    let whole = head
        .checked_add(len_bytes)
        .and_then(|bytes| bytes.checked_next_multiple_of(FRAME_BYTES))
        .ok_or(MapFailure::TooLong { len_bytes })?;
    let (align_log2, offset) = placement(first, whole);
    let request = IovaRequest {
        len_bytes: whole,
        align_log2,
        offset,
        last: mask.last(),
    };
    let mut frames = WholeFrames(memory);
    let range = match domain.map_list(request, &mut frames, permission) {
        // Alignment is a wish: a small mask may only have room without it.
        Err(DomainError::Iova(_)) if align_log2 != FRAME_SIZE_LOG2 => {
            let plain = IovaRequest {
                align_log2: FRAME_SIZE_LOG2,
                offset: 0,
                ..request
            };
            domain.map_list(plain, &mut frames, permission)
        }
        outcome => outcome,
    }?;
    Ok(range
        .slice(head, len_bytes)
        .expect("the request had room for the head and the bytes"))
}

/// Where Z should lie: congruent to Y where memory allows a large leaf, so that the table can use one;
/// else aligned to its own size, so that one invalidation command covers it.
fn placement(first: PhysRange, whole_bytes: u64) -> (u32, u64) {
    match LARGE_LEAVES_LOG2
        .into_iter()
        .find(|&log2| first.len_bytes() >> log2 != 0)
    {
        Some(log2) => {
            let frame = first.start().align_down(FRAME_SIZE_LOG2);
            (log2, frame.as_u64() & ((1 << log2) - 1))
        }
        None => {
            let covering_log2 = whole_bytes.next_power_of_two().ilog2();
            (covering_log2.min(LARGE_LEAVES_LOG2[1]), 0)
        }
    }
}

/// Pieces of memory, widened to the frames they lie in.
struct WholeFrames<'a>(&'a mut dyn PhysList);

impl PhysList for WholeFrames<'_> {
    fn restart(&mut self) {
        self.0.restart();
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        self.0.next_range().map(whole_frames)
    }
}

/// The whole pages that a mapping's range lies in.
pub(crate) fn pages(range: BusRange) -> BusRange {
    let start = range.start().align_down(FRAME_SIZE_LOG2);
    let head = range.start().frame_offset();
    let len = (head + range.len_bytes()).next_multiple_of(FRAME_BYTES);
    BusRange::new(start, len).expect("a mapped range was allocated in whole pages")
}

fn whole_frames(piece: PhysRange) -> PhysRange {
    let start: PhysAddr = piece.start().align_down(FRAME_SIZE_LOG2);
    let len = (piece.start().frame_offset() + piece.len_bytes()).next_multiple_of(FRAME_BYTES);
    PhysRange::new(start, len).unwrap_or(piece)
}

//! A list of buffers is lent as one (`map_sgtable`): the device reaches every piece, nothing beside one, and none afterwards.

use alloc::vec::Vec;

use dmamap::addr::BusAddr;
use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::map::Bidirectional;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent, not_mapped, two_pages_of};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// Pieces of the list.
const PIECES: u8 = 3;
/// Of the last piece so many bytes at the start of its buffer are not in the list.
const LEFT_OUT: u64 = 512;
/// What memory holds before; piece `n` is then full of `SENT + n`.
const KEPT: u8 = 0x19;
const SENT: u8 = 0x70;
/// What the CPU writes to the second piece.
const ANSWER: u8 = 0x2e;

/// Lends three buffers, the last of them in part, has the device write the start of each, answers it in the second,
/// takes all back, and lets the device try the last once more.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the device wrote beside the list, or after it was taken back.
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn sg_table<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let mut list = ScatterList::with_room(PIECES.into()).map_err(not_lent)?;
    for piece in 0..PIECES {
        let buffer = two_pages_of(device, KEPT)?;
        let left_out = if piece == PIECES - 1 { LEFT_OUT } else { 0 };
        let len_bytes = buffer.as_slice().len() as u64 - left_out;
        let added = list.push_part(buffer, left_out, len_bytes);
        added.map_err(|refused| not_lent(refused.error))?;
    }
    let mut mapping = device
        .map_sgtable(list, Bidirectional)
        .map_err(not_mapped)?;
    let starts: Vec<BusAddr> = mapping.runs().map(|run| run.start()).collect();
    if starts.len() != usize::from(PIECES) {
        return Err(confined.unexpected("its list has not as many runs as pieces"));
    }
    for (piece, &bus) in (0..PIECES).zip(&starts) {
        // SAFETY: every piece is longer than that, and lent to be read and written.
        unsafe { confined.writes(bus, SENT + piece)? };
    }
    let whole = mapping.len_bytes();
    let piece_bytes = (whole + LEFT_OUT) / u64::from(PIECES);
    {
        let mut view = mapping.sync_for_cpu();
        let mut read = [0; ATTEMPT_BYTES];
        for (piece, &bus) in (0..PIECES).zip(&starts) {
            let at = u64::from(piece) * piece_bytes;
            view.read_at(at, &mut read).map_err(not_lent)?;
            confined.arrived(bus, &read, SENT + piece)?;
        }
        let answer = [ANSWER; ATTEMPT_BYTES];
        view.write_at(piece_bytes, &answer).map_err(not_lent)?;
    }
    // SAFETY: as above.
    unsafe { confined.reads(starts[1], ANSWER)? };

    let mut buffers: Vec<DmaBuffer<P>> = Vec::new();
    for (piece, entry) in mapping.unmap()?.into_entries().enumerate() {
        let from = entry.offset() as usize;
        let buffer = entry.into_buffer();
        let (before, rest) = buffer.as_slice().split_at(from);
        let (written, after) = rest.split_at(ATTEMPT_BYTES);
        let holds = match piece {
            1 => ANSWER,
            _ => SENT + piece as u8,
        };
        confined.arrived(starts[piece], written, holds)?;
        if before.iter().chain(after).any(|&byte| byte != KEPT) {
            return Err(confined.breached(starts[piece]));
        }
        buffers.push(buffer);
    }
    let last = usize::from(PIECES) - 1;
    let attempt = confined.attempt_on(&mut buffers[last], starts[last], KEPT)?;
    confined.detach(computer)?;
    Ok(attempt)
}

//! Large pages, and a hole between them: a device reaches every part of what is mapped, and nothing of what was
//! taken away in the middle.

use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::map::{FromDevice, Mapping};
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// Bytes of each piece: room for a leaf of 2 MiB wherever the piece begins.
const PIECE_BYTES: u64 = 4 << 20;

/// Distance of the places tried in a piece: every 64th page, so that each entry of a table of small leaves, or each
/// part of a large one, gets its turn.
const STRIDE_BYTES: u64 = 256 << 10;

/// What the device is made to write.
const SENT: u8 = 0x2d;
/// What memory holds before.
const KEPT: u8 = 0xb7;

/// What became of the hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargePage {
    /// Where the three pieces began.
    pub pieces: [BusAddr; 3],
    /// The last attempt in the hole.
    pub attempt: Attempt,
}

/// Maps three large pieces, lets the device write all over them, takes the middle one away, and lets the device try
/// all three again.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if anything arrived in the piece that was taken away.
pub fn large_page<P: Platform>(computer: &mut Computer<P>) -> Result<LargePage, IsolationError> {
    NEEDS.check(computer)?;
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;

    let mut lend = || -> Result<_, IsolationError> {
        let mut buffer = DmaBuffer::allocate_for(confined.edu().device(), PIECE_BYTES)?;
        buffer.as_mut_slice().fill(KEPT);
        let device = confined.edu().device();
        device.map_single(buffer, FromDevice).map_err(not_mapped)
    };
    let (first, middle, last) = (lend()?, lend()?, lend()?);
    let pieces = [first.bus_addr(), middle.bus_addr(), last.bus_addr()];
    for piece in [&first, &middle, &last] {
        write_all_over(&mut confined, piece)?;
    }

    let mut hole = middle.unmap()?;
    check(&confined, &hole, pieces[1], SENT)?;
    hole.as_mut_slice().fill(KEPT);
    let mut attempt = None;
    for offset in places() {
        let bus = pieces[1].checked_add(offset).expect("a place in the piece");
        attempt = Some(confined.attempt_write(bus)?);
    }
    if hole.as_slice().iter().any(|&byte| byte != KEPT) {
        return Err(confined.breached(pieces[1]));
    }
    for (piece, bus) in [(first, pieces[0]), (last, pieces[2])] {
        write_all_over(&mut confined, &piece)?;
        check(&confined, &piece.unmap()?, bus, SENT)?;
    }
    confined.detach(computer)?;
    Ok(LargePage {
        pieces,
        attempt: attempt.expect("there are places in a piece"),
    })
}

fn places() -> impl Iterator<Item = u64> {
    let last = PIECE_BYTES - ATTEMPT_BYTES as u64;
    (0..PIECE_BYTES)
        .step_by(STRIDE_BYTES as usize)
        .chain(core::iter::once(last))
}

fn write_all_over<P: Platform>(
    confined: &mut ConfinedEdu<P>,
    piece: &Mapping<P, DmaBuffer<P>, FromDevice>,
) -> Result<(), IsolationError> {
    places().try_for_each(|offset| {
        confined.edu().store(piece, offset, ATTEMPT_BYTES as u64)?;
        Ok(())
    })
}

/// That the device wrote where it was told, and nowhere else.
fn check<P: Platform>(
    confined: &ConfinedEdu<P>,
    buffer: &DmaBuffer<P>,
    bus: BusAddr,
    sent: u8,
) -> Result<(), IsolationError> {
    let mut at = 0;
    for offset in places().map(|offset| offset as usize) {
        let bytes = buffer.as_slice();
        let between = bytes.get(at..offset).unwrap_or_default();
        let written = &bytes[offset..offset + ATTEMPT_BYTES];
        let arrived = written.iter().all(|&byte| byte == sent);
        if !arrived {
            return Err(confined.not_reached(bus));
        }
        if between.iter().any(|&byte| byte != KEPT) {
            return Err(confined.breached(bus));
        }
        at = offset + ATTEMPT_BYTES;
    }
    Ok(())
}

//! Mapping in two steps (`iova_try_alloc`): addresses first, memory linked to them later; the device reaches what is linked and
//! synced, and nothing afterwards.

use dmamap::buffer::ScatterList;
use dmamap::map::{Bidirectional, MapFailure};
use dmamap::platform::Platform;
use dmamap::system::Protection;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent, not_mapped, two_pages_of};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// What memory holds before.
const KEPT: u8 = 0x27;
/// What the device writes to the first link.
const SENT: u8 = 0xd4;
/// What the CPU writes to the second.
const ANSWER: u8 = 0x35;

/// Chooses addresses for two buffers, links one, syncs, has the device write it, links the other, which the device reads,
/// takes both back, and lets the device try again. Where nobody translates, or all is copied, addresses are refused, as
/// is promised: each piece is then mapped by itself.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the last write arrived.
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn iova_span<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    let chooses = computer.has_iommu() && computer.protection() != Protection::Bounce;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let (first, second) = (two_pages_of(device, KEPT)?, two_pages_of(device, KEPT)?);
    let len_bytes = first.as_slice().len() as u64;
    let phys = first
        .phys(0)
        .ok_or(confined.unexpected("its memory is nowhere"))?;
    let device = confined.edu().device();
    let links = ScatterList::with_room(2).map_err(not_lent)?;
    let mut span = match device.iova_try_alloc(phys, 2 * len_bytes, links, Bidirectional) {
        Ok(span) if chooses => span,
        Err(refused) if !chooses && refused.error.failure == MapFailure::NotTranslated => {
            confined.detach(computer)?;
            return Ok(None);
        }
        Err(refused) => return Err(not_mapped(refused)),
        Ok(_) => {
            return Err(confined.unexpected("addresses were chosen that nobody translates"));
        }
    };
    span.link(first).map_err(not_mapped)?;
    let mut span = span.sync().map_err(|failed| failed.error)?;
    let bus = span.bus_addr();
    // SAFETY: the link is longer than that, and lent to be read and written.
    unsafe { confined.writes(bus, SENT)? };
    {
        let view = span.sync_range_for_cpu(0, ATTEMPT_BYTES as u64);
        let mut read = [0; ATTEMPT_BYTES];
        let view = view.map_err(not_lent)?;
        view.read_at(0, &mut read).map_err(not_lent)?;
        confined.arrived(bus, &read, SENT)?;
    }

    let mut span = span.extend();
    span.link(second).map_err(not_mapped)?;
    let mut span = span.sync().map_err(|failed| failed.error)?;
    let beyond = bus.checked_add(len_bytes);
    let beyond = beyond.ok_or(confined.unexpected("its addresses end"))?;
    {
        let view = span.sync_range_for_cpu(len_bytes, ATTEMPT_BYTES as u64);
        let answer = [ANSWER; ATTEMPT_BYTES];
        let mut view = view.map_err(not_lent)?;
        view.write_at(0, &answer).map_err(not_lent)?;
    }
    // SAFETY: as above.
    unsafe { confined.reads(beyond, ANSWER)? };

    let (span, links) = span.unlink()?;
    // Nobody else is given them before.
    let attempt = confined.attempt_where_confined(beyond)?;
    for (entry, holds) in links.into_entries().zip([SENT, ANSWER]) {
        let buffer = entry.into_buffer();
        let (moved, rest) = buffer.as_slice().split_at(ATTEMPT_BYTES);
        if moved.iter().any(|&byte| byte != holds) || rest.iter().any(|&byte| byte != KEPT) {
            return Err(confined.breached(beyond));
        }
    }
    span.free();
    confined.detach(computer)?;
    Ok(attempt)
}

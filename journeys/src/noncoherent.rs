//! Cached memory that is mapped when it is allocated (`alloc_noncoherent`), synced around each use.

use dmamap::map::Bidirectional;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// What the device writes.
const SENT: u8 = 0x93;
/// What the CPU writes.
const ANSWER: u8 = 0x48;

/// Allocates memory, has the device write it and read what the CPU wrote to it, frees it, and lets the device try again.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn noncoherent<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let memory = device.alloc_noncoherent(ATTEMPT_BYTES as u64, Bidirectional);
    let mut memory = memory.map_err(not_lent)?;
    let bus = memory.bus_addr();
    // SAFETY: it is longer than that, and lent to be read and written.
    unsafe { confined.writes(bus, SENT)? };
    {
        let mut view = memory
            .sync_range_for_cpu(0, ATTEMPT_BYTES as u64)
            .map_err(not_lent)?;
        let mut read = [0; ATTEMPT_BYTES];
        view.read_at(0, &mut read).map_err(not_lent)?;
        confined.arrived(bus, &read, SENT)?;
        let answer = [ANSWER; ATTEMPT_BYTES];
        view.write_at(0, &answer).map_err(not_lent)?;
    }
    // SAFETY: as above.
    unsafe { confined.reads(bus, ANSWER)? };
    memory.free()?;
    let attempt = confined.attempt_where_confined(bus)?;
    confined.detach(computer)?;
    Ok(attempt)
}

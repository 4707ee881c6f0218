//! Coherent memory made ready in advance (`create_atomic_pool`): no frame is taken and nothing mapped where nothing may be waited for.

use dmamap::addr::FRAME_BYTES;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// Takes memory of a pool without anything being mapped, has the device write it and read what the CPU wrote to it, gives all
/// back, and lets the device try again.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn atomic_pool<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let pool = device.create_atomic_pool(FRAME_BYTES).map_err(not_lent)?;
    let maps = device.figures().maps;
    let block = pool.alloc::<u8>(ATTEMPT_BYTES).map_err(not_lent)?;
    if device.figures().maps != maps {
        return Err(confined.unexpected("its atomic pool mapped something"));
    }
    let bus = block.bus_addr();
    confined.exchange(&block)?;
    block.free();
    pool.destroy()
        .map_err(|_| confined.unexpected("its atomic pool was not given back"))?;
    let attempt = confined.attempt_where_confined(bus)?;
    confined.detach(computer)?;
    Ok(attempt)
}

//! Small blocks of coherent memory (`create_pool`): both sides write and read them, and the device loses them with the pool.

use dmamap::map::PoolLayout;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// What the block beside holds.
const BESIDE: u8 = 0xe1;

/// Takes two blocks of a pool, has the device write the one and read what the CPU wrote to it, finds the other as it was,
/// gives all back, and lets the device try the block again.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn dma_pool<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let layout = PoolLayout::of(2 * ATTEMPT_BYTES).align(2 * ATTEMPT_BYTES as u64);
    let pool = device.create_pool::<u8>("journey", layout);
    let pool = pool.map_err(not_lent)?;
    let other = pool.zalloc(device).map_err(not_lent)?;
    let block = pool.zalloc(device).map_err(not_lent)?;
    let bus = block.bus_addr();
    other.fill(BESIDE);
    confined.exchange(&block)?;
    let mut beside = [0; 2 * ATTEMPT_BYTES];
    other.read_bytes(0, &mut beside).map_err(not_lent)?;
    if beside.iter().any(|&byte| byte != BESIDE) {
        return Err(confined.breached(other.bus_addr()));
    }
    block.free();
    other.free();
    pool.destroy()
        .map_err(|_| confined.unexpected("its pool was not given back"))?;
    let attempt = confined.attempt_where_confined(bus)?;
    confined.detach(computer)?;
    Ok(attempt)
}

//! Blocks that stay mapped (`BufferPool`): used again and again without a mapping, until the pool goes.

use dmamap::map::{Bidirectional, BufferPool};
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_lent};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// Blocks of the pool.
const BLOCKS: usize = 4;
/// What the device writes.
const SENT: u8 = 0x93;
/// What the CPU writes.
const ANSWER: u8 = 0x48;

/// Uses one block twice, without anything being mapped in between but what loads the device, frees the pool, and lets the device
/// try the block again.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn buffer_pool<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.edu().device();
    let pool = BufferPool::allocate(device, BLOCKS, ATTEMPT_BYTES as u64, Bidirectional);
    let pool = pool.map_err(not_lent)?;
    let mut bus = pool.range().start();
    for _ in 0..2 {
        let maps = confined.edu().device().figures().maps;
        let mut block = pool
            .take()
            .ok_or(confined.unexpected("its pool is empty"))?;
        if confined.edu().device().figures().maps != maps {
            return Err(confined.unexpected("a block was mapped when it was taken"));
        }
        bus = block.bus_addr();
        // SAFETY: it is longer than that, and lent to be read and written.
        unsafe { confined.writes(bus, SENT)? };
        {
            let mut view = block
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
    }
    if pool.available() != BLOCKS {
        return Err(confined.unexpected("a block did not come back"));
    }
    pool.free()?;
    let attempt = confined.attempt_where_confined(bus)?;
    confined.detach(computer)?;
    Ok(attempt)
}

//! The caller chooses bus addresses (`UnmanagedDomain`): the device finds memory exactly there, and not any more when it was
//! unmapped.

use core::mem::ManuallyDrop;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::buffer::DmaMemory;
use dmamap::map::{Permission, UnmanagedDomain};
use dmamap::platform::Platform;
use drivers::edu::Engine;

use crate::computer::Computer;
use crate::isolation::{
    self, ATTEMPT_BYTES, Refused, detach_treated, first_edu, not_lent, refusal, two_pages_of,
};
use crate::{IsolationError, Needs};

/// What this journey needs: a unit, as without translation nobody chooses an address.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// The address chosen: clear of message windows and of memory that firmware left to devices, and 2 MiB beyond each.
const CHOSEN: BusAddr = BusAddr::new(0x0560_0000);
/// What memory to be read holds.
const LENT: u8 = 0x5f;
/// What memory to be written holds before.
const KEPT: u8 = 0x06;

/// Shows the device two buffers side by side where the caller chose, has it copy from the one to the other, takes both away,
/// and lets it try again.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the last write arrived.
pub fn unmanaged_domain<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Refused, IsolationError> {
    NEEDS.check(computer)?;
    let (platform, system) = (computer.platform(), computer.system());
    let function = first_edu(computer)?;
    let device = computer.attach(&function)?;
    let requester = device.requester();
    let unexpected = |what| IsolationError::Unexpected {
        device: requester,
        what,
    };
    // Until both are unmapped an error leaks them: the device may reach them still.
    let mut lent = ManuallyDrop::new(two_pages_of(&device, LENT)?);
    let mut kept = ManuallyDrop::new(two_pages_of(&device, KEPT)?);
    // Who chooses addresses maintains caches, too: nothing here knows whose turn it is.
    let coherence = device.coherence();
    for (buffer, held) in [(&mut lent, LENT), (&mut kept, KEPT)] {
        isolation::refill(platform, coherence, buffer, held);
    }
    let domain = UnmanagedDomain::of(device)
        .map_err(|_| unexpected("its domain, in which nothing is mapped, was not handed over"))?;
    let mut engine = Engine::claim(platform, &function, computer.resources_mut())?;

    let (read, written) = (lent.segment(0), kept.segment(0));
    let beside = CHOSEN.checked_add(read.len_bytes());
    let beside = beside.ok_or(unexpected("its addresses end"))?;
    // SAFETY: both buffers live until they were unmapped below, or for ever. Nobody looks at them meanwhile.
    unsafe {
        domain
            .map(CHOSEN, read, Permission::Read)
            .map_err(not_lent)?;
        let shown = domain.map(beside, written, Permission::ReadWrite);
        shown.map_err(not_lent)?;
    }
    let found = domain.lookup(beside).map(|(phys, _)| phys);
    if found != Some(written.start()) {
        return Err(unexpected("its memory is not where it was shown"));
    }
    // SAFETY: the device is confined to its domain, where both are.
    unsafe {
        engine.fetch_at(CHOSEN, ATTEMPT_BYTES as u64)?;
        engine.store_at(beside, ATTEMPT_BYTES as u64)?;
    }
    for (bus, memory) in [(CHOSEN, read), (beside, written)] {
        let range = BusRange::new(bus, memory.len_bytes()).map_err(not_lent)?;
        domain.unmap(range).map_err(not_lent)?;
    }
    let (lent, mut kept) = (
        ManuallyDrop::into_inner(lent),
        ManuallyDrop::into_inner(kept),
    );
    isolation::see_memory(platform, coherence, &mut kept);
    let (moved, rest) = kept.as_slice().split_at(ATTEMPT_BYTES);
    let arrived = moved.iter().all(|&byte| byte == LENT) && rest.iter().all(|&byte| byte == KEPT);
    if !arrived || lent.as_slice().iter().any(|&byte| byte != LENT) {
        return Err(IsolationError::NotReached {
            device: requester,
            bus: beside,
        });
    }

    isolation::refill(platform, coherence, &mut kept, KEPT);
    let before = system.faults();
    // SAFETY: the device is confined to its domain, where nothing is.
    unsafe { engine.store_at(beside, ATTEMPT_BYTES as u64)? };
    let refused = refusal(system, platform, requester, beside, &before)?;
    if !isolation::is_kept(platform, coherence, &mut kept, KEPT) {
        return Err(IsolationError::Breached {
            device: requester,
            bus: beside,
            access: dmamap::iommu::fault::Access::Write,
        });
    }
    drop(engine);
    domain.detach()?;
    // And it can be attached as before.
    let device = computer.attach(&function)?;
    detach_treated(computer, device, computer.protection())?;
    Ok(refused)
}

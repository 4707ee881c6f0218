//! The allocator of bus addresses: allocate and free, each under the lock once, as a map and an unmap do.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};

use super::Paths;
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::{Plain, SpinLock};

/// log2 of the bytes that bus addresses span.
const APERTURE_LOG2: u32 = 48;
const PAGE_LOG2: u32 = 12;

const NAMES: [(&str, u32); 3] = [
    ("iova pair 4K", 12),
    ("iova pair 64K", 16),
    ("iova pair 2M", 21),
];

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    if !paths.want(&NAMES.map(|(name, _)| name)) {
        return Ok(());
    }
    let booted = Booted::get()?;
    for (name, len_log2) in NAMES {
        let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2);
        let aperture = aperture.map_err(CountsError::set_up("bus addresses"))?;
        let space = IovaSpace::new(booted.platform(), aperture, PAGE_LOG2);
        let space = space.map_err(CountsError::set_up("bus addresses"))?;
        let space: lock_api::Mutex<SpinLock, IovaSpace<Plain>> = lock_api::Mutex::new(space);
        let request = IovaRequest::new(1 << len_log2).aligned(len_log2, 0);
        paths.walk(name, || {
            let range = space.lock().allocate(request)?;
            space.lock().free(range)?;
            Ok::<(), IovaError>(())
        })?;
    }
    Ok(())
}

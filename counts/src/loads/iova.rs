//! The allocator of bus addresses: allocate and free, as a map and an unmap do: in the CPU's lane, or under the lock.

use std::hint::black_box;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, SharedSpace};

use super::Paths;
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::Plain;

/// log2 of the bytes that bus addresses span.
const APERTURE_LOG2: u32 = 48;
const PAGE_LOG2: u32 = 12;

const OWNED: [(&str, u32); 2] = [("iova pair 4K, owned", 12), ("iova pair 64K, owned", 16)];

const NAMES: [(&str, u64); 5] = [
    ("iova pair 4K", 4 << 10),
    ("iova pair 12K", 12 << 10),
    ("iova pair 64K", 64 << 10),
    ("iova pair 1M", 1 << 20),
    ("iova pair 2M", 2 << 20),
];

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    if !paths.want(&NAMES.map(|(name, _)| name)) && !paths.want(&OWNED.map(|(name, _)| name)) {
        return Ok(());
    }
    let booted = Booted::get()?;
    for (name, len_bytes) in NAMES {
        let space = space(booted)?;
        paths.walk(name, || {
            // Of a length that is not known before, as callers' are.
            let request = IovaRequest::naturally_aligned(black_box(len_bytes));
            let range = space.allocate(request)?;
            // SAFETY: it was just allocated.
            unsafe { space.free(range) }?;
            Ok::<(), IovaError>(())
        })?;
    }
    owned(paths, booted)
}

/// In a lane of its own.
fn owned(paths: &mut Paths<'_>, booted: &Booted) -> Result<(), CountsError> {
    let space = space(booted)?;
    for (name, len_log2) in OWNED {
        let mut lane = space.lane(BusAddr::new(0)..=BusAddr::new(u64::MAX));
        paths.walk(name, || {
            let range = lane.allocate(1 << len_log2)?;
            // SAFETY: it was just allocated.
            unsafe { lane.free(range) }?;
            Ok::<(), IovaError>(())
        })?;
    }
    Ok(())
}

fn space(booted: &Booted) -> Result<SharedSpace<Plain>, CountsError> {
    let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2);
    let aperture = aperture.map_err(CountsError::set_up("bus addresses"))?;
    let space = SharedSpace::new(booted.platform(), aperture, PAGE_LOG2);
    space.map_err(CountsError::set_up("bus addresses"))
}

//! Whole calls of a driver: from the buffer to the unit and back.

use std::array;

use dmamap::buffer::{DmaBuffer, DmaMemory, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Retired};
use dmamap::system::Protection;

use super::Paths;
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::Plain;

const STRICT: &str = "map_single and unmap 4K, strict";
const STRICT_64K: &str = "map_single and unmap 64K, strict";
const SYNC: &str = "sync_for_cpu and sync_for_device 4K";
const STRICT_LANE: &str = "map_single and unmap 4K, strict, in a lane of its own";
const SHARED_LANE: &str = "map_single and unmap 4K, deferred, in a lane of its own";
const LIST: &str = "map_sg and unmap of 8 pages apart, strict";
const OWNED: &str = "map_single, retire and finish 4K, flushes of 64";
const SHARED: &str = "map_single and unmap 4K, deferred";
const LIST_SHARED: &str = "map_sgtable and unmap of 8 pages apart, deferred";

pub(super) const PAGE: u64 = 4096;

/// Mappings that are retired before one flush.
const TOGETHER: usize = 64;

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    let names = [
        STRICT,
        STRICT_64K,
        STRICT_LANE,
        SYNC,
        LIST,
        OWNED,
        SHARED,
        SHARED_LANE,
        LIST_SHARED,
    ];
    if !paths.want(&names) {
        return Ok(());
    }
    let booted = Booted::get()?;
    let device = booted.attach(Protection::Strict)?;
    single(paths, STRICT, &device, PAGE)?;
    single(paths, STRICT_64K, &device, 16 * PAGE)?;
    in_a_lane(paths, STRICT_LANE, &device)?;
    scattered(paths, &device)?;
    sync(paths, &device)?;
    detach(device)?;
    let device = booted.attach(Protection::Deferred)?;
    retired(paths, &device)?;
    detach(device)?;
    let device = booted.attach_trusted(Protection::Deferred)?;
    single(paths, SHARED, &device, PAGE)?;
    in_a_lane(paths, SHARED_LANE, &device)?;
    list(paths, &device)?;
    detach(device)
}

pub(super) fn buffer(
    device: &Device<Plain>,
    len_bytes: u64,
) -> Result<DmaBuffer<Plain>, CountsError> {
    DmaBuffer::allocate(device.platform(), len_bytes).map_err(CountsError::set_up("a buffer"))
}

pub(super) fn detach(device: Device<Plain>) -> Result<(), CountsError> {
    device
        .detach()
        .map_err(CountsError::set_up("detaching the device"))
}

/// Maps and unmaps memory in one piece, which stays the same.
pub(super) fn single(
    paths: &mut Paths<'_>,
    name: &'static str,
    device: &Device<Plain>,
    len_bytes: u64,
) -> Result<(), CountsError> {
    let mut memory = Some(buffer(device, len_bytes)?);
    paths.walk(name, || {
        let lent = memory.take().ok_or("the buffer is gone")?;
        let Ok(mapping) = device.map_single(lent, Bidirectional) else {
            return Err("it was not mapped");
        };
        memory = Some(mapping.unmap().map_err(|_| "it was not unmapped")?);
        Ok::<(), &str>(())
    })
}

/// The same for the owner of a lane.
fn in_a_lane(
    paths: &mut Paths<'_>,
    name: &'static str,
    device: &Device<Plain>,
) -> Result<(), CountsError> {
    let mut lane = device.lane();
    let mut memory = Some(buffer(device, PAGE)?);
    paths.walk(name, || {
        let lent = memory.take().ok_or("the buffer is gone")?;
        let Ok(mapping) = lane.map_single(lent, Bidirectional) else {
            return Err("it was not mapped");
        };
        memory = Some(lane.unmap(mapping).map_err(|_| "it was not unmapped")?);
        Ok::<(), &str>(())
    })
}

/// Pages that lie apart in memory, in one buffer.
fn scattered(paths: &mut Paths<'_>, device: &Device<Plain>) -> Result<(), CountsError> {
    let memory = ScatteredBuffer::allocate(device.platform(), 8 * PAGE);
    let memory = memory.map_err(CountsError::set_up("a buffer"))?;
    if (0..8).any(|page| memory.segment(page * PAGE).len_bytes() != PAGE) {
        return Err(CountsError::SetUp {
            what: "a buffer",
            error: "its pages lie side by side".into(),
        });
    }
    let mut memory = Some(memory);
    paths.walk(LIST, || {
        let lent = memory.take().ok_or("the buffer is gone")?;
        let Ok(mapping) = device.map_sg(lent, Bidirectional) else {
            return Err("it was not mapped");
        };
        memory = Some(mapping.unmap().map_err(|_| "it was not unmapped")?);
        Ok::<(), &str>(())
    })
}

/// The CPU's turn at memory that stays mapped, and the end of it.
fn sync(paths: &mut Paths<'_>, device: &Device<Plain>) -> Result<(), CountsError> {
    let mapped = device.map_single(buffer(device, PAGE)?, Bidirectional);
    let mut mapping = mapped.map_err(|refused| CountsError::SetUp {
        what: "a mapping",
        error: refused.error.to_string(),
    })?;
    paths.walk(SYNC, || {
        let view = mapping.sync_for_cpu();
        drop(view);
        Ok::<(), &str>(())
    })?;
    mapping
        .unmap()
        .map_err(CountsError::set_up("unmapping"))
        .map(drop)
}

type Gone = Retired<Plain, DmaBuffer<Plain>, Bidirectional>;

/// Each mapping is retired at once, and its memory taken back after a flush that many share.
fn retired(paths: &mut Paths<'_>, device: &Device<Plain>) -> Result<(), CountsError> {
    let mut free: Vec<DmaBuffer<Plain>> = Vec::with_capacity(TOGETHER);
    for _ in 0..TOGETHER {
        free.push(buffer(device, PAGE)?);
    }
    let mut gone: [Option<Gone>; TOGETHER] = array::from_fn(|_| None);
    let mut count = 0;
    paths.walk(OWNED, || {
        let lent = free.pop().ok_or("the buffers are gone")?;
        let Ok(mapping) = device.map_single(lent, Bidirectional) else {
            return Err("it was not mapped");
        };
        gone[count] = Some(mapping.retire());
        count += 1;
        if count == TOGETHER {
            count = 0;
            device.flush().map_err(|_| "it was not flushed")?;
            for retired in gone.iter_mut().filter_map(Option::take) {
                free.push(retired.finish().map_err(|_| "it did not come back")?);
            }
        }
        Ok::<(), &str>(())
    })
}

/// A list of buffers, each with a page between it and the next.
fn list(paths: &mut Paths<'_>, device: &Device<Plain>) -> Result<(), CountsError> {
    let mut list = ScatterList::with_room(8).map_err(CountsError::set_up("a list"))?;
    for _ in 0..8 {
        let added = list.push_part(buffer(device, 2 * PAGE)?, 0, PAGE);
        added.map_err(|refused| CountsError::SetUp {
            what: "a list",
            error: refused.error.to_string(),
        })?;
    }
    let mut memory = Some(list);
    paths.walk(LIST_SHARED, || {
        let lent = memory.take().ok_or("the list is gone")?;
        let Ok(mapping) = device.map_sgtable(lent, Bidirectional) else {
            return Err("it was not mapped");
        };
        memory = Some(mapping.unmap().map_err(|_| "it was not unmapped")?);
        Ok::<(), &str>(())
    })
}

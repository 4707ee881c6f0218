//! Whole calls where the device is given a copy: what they cost beside copying.

use dmamap::buffer::PackedFrames;
use dmamap::device::Device;
use dmamap::map::ToDevice;
use dmamap::system::Protection;

use super::Paths;
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::Plain;

const OWN: &str = "map_single and unmap of 512 bytes, copied to memory always mapped";
const EDGES: &str = "map_single and unmap of 512 bytes in a shared page, copied, strict";

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    if !paths.want(&[OWN, EDGES]) {
        return Ok(());
    }
    let booted = Booted::get()?;
    for (name, protection) in [(OWN, Protection::Bounce), (EDGES, Protection::Strict)] {
        let device = booted.attach(protection)?;
        packed(paths, name, &device)?;
        let detached = device.detach();
        detached.map_err(CountsError::set_up("detaching the device"))?;
    }
    Ok(())
}

fn packed(
    paths: &mut Paths<'_>,
    name: &'static str,
    device: &Device<Plain>,
) -> Result<(), CountsError> {
    let pool = PackedFrames::new(device.platform(), 512);
    let block = pool.allocate();
    let mut memory = Some(block.map_err(CountsError::set_up("a buffer"))?);
    paths.walk(name, || {
        let lent = memory.take().ok_or("the buffer is gone")?;
        let Ok(mapping) = device.map_single(lent, ToDevice) else {
            return Err("it was not mapped");
        };
        memory = Some(mapping.unmap().map_err(|_| "it was not unmapped")?);
        Ok::<(), &str>(())
    })
}

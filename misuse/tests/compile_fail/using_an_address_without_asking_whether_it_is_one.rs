use dmamap::addr::{BusRange, PhysAddr};
use dmamap::device::Device;
use dmamap::map::AnyDirection;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, frame: PhysAddr) -> BusRange {
    // SAFETY: none.
    unsafe { device.map_page(frame, 0, 4096, AnyDirection::ToDevice) }
}

fn main() {}

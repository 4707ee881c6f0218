use dmamap::addr::{BusRange, PhysRange};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes};
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, memory: PhysRange, bus: BusRange) {
    let _ = device.map_phys(memory, AnyDirection::ToDevice);
    let _ = device.unmap_phys(bus, AnyDirection::ToDevice, Attributes::NONE);
}

fn main() {}

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{ToDevice, UnmanagedDomain};
use dmamap::platform::Platform;

fn example<P: Platform>(device: Device<P>, buffer: DmaBuffer<P>) {
    let _domain = UnmanagedDomain::of(device);
    let _ = device.map_single(buffer, ToDevice);
}

fn main() {}

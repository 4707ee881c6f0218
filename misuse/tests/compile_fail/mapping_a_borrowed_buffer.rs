use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::ToDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, mut buffer: DmaBuffer<P>) {
    let _ = device.map_single(&mut buffer, ToDevice);
}

fn main() {}

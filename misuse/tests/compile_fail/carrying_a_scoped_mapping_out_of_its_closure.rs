use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, buffer: &mut DmaBuffer<P>) {
    let _escaped = device.map_within(buffer, FromDevice, |mapping| mapping);
}

fn main() {}

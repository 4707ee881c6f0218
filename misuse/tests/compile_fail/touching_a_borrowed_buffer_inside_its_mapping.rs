use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, buffer: &mut DmaBuffer<P>) {
    let _ = device.map_within(buffer, FromDevice, |_| buffer.as_slice()[0]);
}

fn main() {}

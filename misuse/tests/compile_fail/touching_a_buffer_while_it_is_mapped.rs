use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, buffer: DmaBuffer<P>) {
    let _mapping = device.map_single(buffer, FromDevice);
    let _ = buffer.as_slice();
}

fn main() {}

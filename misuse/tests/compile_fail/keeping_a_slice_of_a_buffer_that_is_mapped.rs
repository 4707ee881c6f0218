use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, buffer: DmaBuffer<P>) -> u8 {
    let slice = buffer.as_slice();
    let _mapping = device.map_single(buffer, FromDevice);
    slice[0]
}

fn main() {}

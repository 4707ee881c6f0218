use dmamap::device::Device;
use dmamap::map::ToDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>) {
    let _ = device.map_single(vec![0_u8; 4096], ToDevice);
}

fn main() {}

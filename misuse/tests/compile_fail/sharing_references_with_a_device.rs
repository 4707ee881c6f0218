use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>) {
    let _ = device.alloc_coherent::<&'static u8>(1);
}

fn main() {}

use dmamap::device::Device;
use dmamap::platform::Platform;

#[derive(Clone, Copy)]
#[repr(C)]
struct Padded {
    small: u8,
    large: u32,
}

fn example<P: Platform>(device: &Device<P>) {
    let _ = device.alloc_coherent::<Padded>(1);
}

fn main() {}

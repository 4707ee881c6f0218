use dmamap::device::Device;
use dmamap::map::{Coherent, ToDevice};
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, coherent: Coherent<P, u64>) {
    let _ = device.map_single(coherent, ToDevice);
}

fn main() {}

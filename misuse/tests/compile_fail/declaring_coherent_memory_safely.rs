use core::ptr::NonNull;

use dmamap::addr::BusRange;
use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, start: NonNull<u8>, bus: BusRange) {
    let _ = device.declare_coherent_memory(start, bus);
}

fn main() {}

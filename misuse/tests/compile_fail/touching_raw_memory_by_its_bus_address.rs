use dmamap::addr::BusAddr;
use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, bus: BusAddr) {
    let _ = device.platform().frame_pointer(bus);
}

fn main() {}

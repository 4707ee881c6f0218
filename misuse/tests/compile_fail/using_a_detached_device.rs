use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: Device<P>) {
    let _ = device.detach();
    let _ = device.figures();
}

fn main() {}

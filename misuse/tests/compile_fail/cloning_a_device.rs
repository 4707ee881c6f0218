use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: Device<P>) {
    let _second = device.clone();
}

fn main() {}

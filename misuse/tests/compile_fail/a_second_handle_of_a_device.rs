use dmamap::device::Device;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>) -> Device<P> {
    Clone::clone(device)
}

fn main() {}

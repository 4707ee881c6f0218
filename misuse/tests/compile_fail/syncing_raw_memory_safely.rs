use dmamap::addr::BusRange;
use dmamap::device::Device;
use dmamap::map::AnyDirection;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, range: BusRange) {
    let _ = device.sync_raw_single_for_cpu(range, AnyDirection::FromDevice);
    let _ = device.sync_raw_single_for_device(range, AnyDirection::FromDevice);
}

fn main() {}

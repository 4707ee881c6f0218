use dmamap::addr::{BusRange, PhysRange};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes};
use dmamap::platform::Platform;

const DIRECTION: AnyDirection = AnyDirection::FromDevice;

fn single<P: Platform>(device: Device<P>, bus: BusRange) {
    let _ = device.detach();
    let _ = unsafe { device.unmap_phys(bus, DIRECTION, Attributes::NONE) };
}

fn list<P: Platform>(device: Device<P>, pieces: &[PhysRange], told: &[BusRange]) {
    let _ = device.detach();
    let _ = unsafe { device.unmap_sg_raw(pieces, told, DIRECTION, Attributes::NONE) };
}

fn while_somebody_has_it<P: Platform>(device: &Device<P>) {
    let _ = device.detach();
}

fn main() {}

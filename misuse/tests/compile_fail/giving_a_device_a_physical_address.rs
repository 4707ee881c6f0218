use dmamap::addr::{BusAddr, PhysAddr, VirtAddr};

fn tell_device(_: BusAddr) {}

fn main() {
    let phys = PhysAddr::new(0x1000);
    tell_device(phys);
    tell_device(BusAddr::from(phys));
    let _: BusAddr = VirtAddr::new(0x1000).into();
    tell_device(phys as BusAddr);
}

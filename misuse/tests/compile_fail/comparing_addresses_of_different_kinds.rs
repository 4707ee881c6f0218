use dmamap::addr::{BusAddr, PhysAddr};

fn main() {
    let _ = PhysAddr::new(0x1000) == BusAddr::new(0x1000);
}

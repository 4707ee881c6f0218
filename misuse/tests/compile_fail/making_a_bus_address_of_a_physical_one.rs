use dmamap::addr::{BusAddr, PhysAddr};

fn main() {
    let _ = BusAddr::from(PhysAddr::new(0x1000));
}

use dmamap::buffer::DmaBuffer;
use dmamap::map::{Retired, ToDevice};
use dmamap::platform::Platform;

fn example<P: Platform>(retired: &Retired<P, DmaBuffer<P>, ToDevice>) {
    let _ = retired.read_at(0, &mut [0; 4]);
}

fn main() {}

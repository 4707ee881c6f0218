use dmamap::buffer::DmaBuffer;
use dmamap::map::{SgTableMapping, ToDevice};
use dmamap::platform::Platform;

fn example<P: Platform>(mut mapping: SgTableMapping<P, DmaBuffer<P>, ToDevice>) {
    let _ = mapping.sync_for_cpu().read_at(0, &mut [0; 4]);
}

fn main() {}

use dmamap::buffer::DmaBuffer;
use dmamap::map::{SgTableMapping, ToDevice};
use dmamap::platform::Platform;

fn example<P: Platform>(mapping: SgTableMapping<P, DmaBuffer<P>, ToDevice>) {
    let _ = mapping.unmap();
    let _ = mapping.unmap();
}

fn main() {}

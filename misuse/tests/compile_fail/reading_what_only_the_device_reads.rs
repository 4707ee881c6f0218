use dmamap::buffer::DmaBuffer;
use dmamap::map::{Mapping, ToDevice};
use dmamap::platform::Platform;

fn example<P: Platform>(mut mapping: Mapping<P, DmaBuffer<P>, ToDevice>) {
    let view = mapping.sync_for_cpu();
    let _ = view.read_at(0, &mut [0; 4]);
}

fn main() {}

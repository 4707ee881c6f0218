use dmamap::buffer::DmaBuffer;
use dmamap::map::{FromDevice, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mut mapping: Mapping<P, DmaBuffer<P>, FromDevice>) {
    let mut view = mapping.sync_for_cpu();
    let _ = view.write_at(0, &[0; 4]);
}

fn main() {}

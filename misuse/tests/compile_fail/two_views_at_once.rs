use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mut mapping: Mapping<P, DmaBuffer<P>, Bidirectional>) {
    let one = mapping.sync_for_cpu();
    let two = mapping.sync_for_cpu();
    let _ = (one.len_bytes(), two.len_bytes());
}

fn main() {}

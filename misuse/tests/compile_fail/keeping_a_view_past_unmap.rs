use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mut mapping: Mapping<P, DmaBuffer<P>, Bidirectional>) {
    let view = mapping.sync_for_cpu();
    let _buffer = mapping.unmap();
    let _ = view.len_bytes();
}

fn main() {}

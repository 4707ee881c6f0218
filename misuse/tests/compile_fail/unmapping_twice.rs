use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mapping: Mapping<P, DmaBuffer<P>, Bidirectional>) {
    let _buffer = mapping.unmap();
    let _again = mapping.unmap();
}

fn main() {}

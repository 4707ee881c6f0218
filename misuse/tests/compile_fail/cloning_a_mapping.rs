use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mapping: Mapping<P, DmaBuffer<P>, Bidirectional>) {
    let _second = mapping.clone();
}

fn main() {}

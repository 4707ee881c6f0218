use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mapping: Mapping<P, DmaBuffer<P>, Bidirectional>) {
    let retired = mapping.retire();
    // The device may still write it.
    let _ = retired.as_slice();
}

fn main() {}

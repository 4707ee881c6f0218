use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, Retired};
use dmamap::platform::Platform;

fn example<P: Platform>(retired: Retired<P, DmaBuffer<P>, Bidirectional>) {
    let _buffer = retired.finish();
    let _again = retired.remap(Bidirectional);
}

fn main() {}

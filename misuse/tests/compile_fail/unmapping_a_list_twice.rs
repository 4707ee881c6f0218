use dmamap::buffer::ScatteredBuffer;
use dmamap::map::{Bidirectional, SgMapping};
use dmamap::platform::Platform;

fn example<P: Platform>(mapping: SgMapping<P, ScatteredBuffer<P>, Bidirectional>) {
    let _buffer = mapping.unmap();
    let _again = mapping.unmap();
}

fn main() {}

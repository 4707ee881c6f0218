use dmamap::buffer::DmaBuffer;
use dmamap::map::*;
use dmamap::platform::Platform;

fn example<P: Platform>(
    mut span: IovaSpan<P, DmaBuffer<P>, ToDevice, Linked>,
    buffer: DmaBuffer<P>,
) {
    let _ = span.link(buffer);
}

fn main() {}

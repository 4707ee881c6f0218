use dmamap::buffer::DmaBuffer;
use dmamap::map::*;
use dmamap::platform::Platform;

fn example<P: Platform>(
    mut span: IovaSpan<P, DmaBuffer<P>, ToDevice, Unsynced>,
    buffer: DmaBuffer<P>,
) {
    let _ = span.link(buffer);
    let _ = span.range();
    let _ = span.bus_addr();
}

fn main() {}

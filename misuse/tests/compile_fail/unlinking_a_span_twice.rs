use dmamap::buffer::DmaBuffer;
use dmamap::map::*;
use dmamap::platform::Platform;

fn example<P: Platform>(span: IovaSpan<P, DmaBuffer<P>, ToDevice, Linked>) {
    let _ = span.unlink();
    let _ = span.unlink();
}

fn main() {}

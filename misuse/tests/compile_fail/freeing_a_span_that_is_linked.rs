use dmamap::buffer::DmaBuffer;
use dmamap::map::*;
use dmamap::platform::Platform;

fn example<P: Platform>(
    linked: IovaSpan<P, DmaBuffer<P>, ToDevice, Linked>,
    unsynced: IovaSpan<P, DmaBuffer<P>, ToDevice, Unsynced>,
) {
    linked.free();
    unsynced.free();
}

fn main() {}

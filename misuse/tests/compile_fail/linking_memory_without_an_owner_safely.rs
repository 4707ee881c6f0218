use dmamap::addr::PhysRange;
use dmamap::map::RawIovaSpan;
use dmamap::platform::Platform;

fn example<P: Platform>(span: &mut RawIovaSpan<P>, memory: PhysRange) {
    let _ = span.link(0, memory);
    let _ = span.unlink(0, 4096);
}

fn main() {}

use dmamap::map::{Coherent, Descriptors, Published};
use dmamap::platform::Platform;

fn example<P: Platform, D: Published<Entry = u64>>(ring: Descriptors<Coherent<P, u64>, D>) {
    let _ = ring.write(0, 1);
}

fn main() {}

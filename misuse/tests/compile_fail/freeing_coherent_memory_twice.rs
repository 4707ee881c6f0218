use dmamap::map::Coherent;
use dmamap::platform::Platform;

fn example<P: Platform>(coherent: Coherent<P, u64>) {
    let _ = coherent.free();
    let _ = coherent.read(0);
}

fn main() {}

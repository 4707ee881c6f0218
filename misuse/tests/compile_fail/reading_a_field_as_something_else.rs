use dmamap::map::Coherent;
use dmamap::platform::Platform;

fn example<P: Platform>(coherent: &Coherent<P, u64>) {
    let _ = coherent.read_at::<char>(0);
}

fn main() {}

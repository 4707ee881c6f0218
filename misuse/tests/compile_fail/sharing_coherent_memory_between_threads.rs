use dmamap::map::Coherent;
use dmamap::platform::Platform;

fn example<P: Platform>(coherent: &Coherent<P, u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| coherent.write(0, 1));
    });
}

fn main() {}

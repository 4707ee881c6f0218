use dmamap::platform::Platform;
use dmamap::system::DmaSystem;

fn example<P: Platform>(system: &'static DmaSystem<P>) {
    let _ = system.shutdown();
}

fn main() {}

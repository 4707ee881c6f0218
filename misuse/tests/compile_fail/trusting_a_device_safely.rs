use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::{DmaSystem, Protection};

fn example<P: Platform>(system: &'static DmaSystem<P>, function: &Function<P>) {
    let _ = system.attach_trusted(function, Protection::Identity);
}

fn main() {}

use dmamap::pci::Function;
use dmamap::platform::Platform;

fn example<P: Platform>(function: &Function<P>) {
    function.enable_bus_master();
}

fn main() {}

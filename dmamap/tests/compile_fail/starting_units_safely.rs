use dmamap::pci::Topology;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::{DmaSystem, Settings};
use firmware::dmar::Dmar;

fn example<P: Platform>(
    system: &'static DmaSystem<P>,
    dmar: &Dmar,
    topology: &Topology<P>,
    tree: &mut ResourceTree,
) {
    let _ = system.start_units(dmar, topology, tree, Settings::default());
}

fn main() {}

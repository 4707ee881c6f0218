use dmamap::pci::Topology;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::{DmaSystem, Settings};
use firmware::IommuDescription;

fn example<P: Platform>(
    system: &'static DmaSystem<P>,
    iommus: &IommuDescription,
    topology: &Topology<P>,
    tree: &mut ResourceTree,
) {
    let _ = system.start_units(iommus, topology, tree, Settings::default());
}

fn main() {}

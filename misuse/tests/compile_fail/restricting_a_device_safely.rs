use dmamap::addr::PhysRange;
use dmamap::iommu::Requester;
use dmamap::platform::Platform;
use dmamap::system::DmaSystem;

fn example<P: Platform>(system: &DmaSystem<P>, device: Requester, memory: PhysRange) {
    let _ = system.restrict(device, memory);
}

fn main() {}

use dmamap::device::Device;
use dmamap::map::{Bidirectional, PoolBlock};
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, block: PoolBlock<P, u64>) {
    let _ = device.map_sg(block, Bidirectional);
}

fn main() {}

use dmamap::map::PoolBlock;
use dmamap::platform::Platform;

fn example<P: Platform>(block: PoolBlock<P, u64>) {
    block.free();
    block.free();
}

fn main() {}

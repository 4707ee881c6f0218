use dmamap::map::{FromDevice, PooledBuffer};
use dmamap::platform::Platform;

fn example<P: Platform>(block: PooledBuffer<P, FromDevice>) {
    let _two = (block.clone(), block);
}

fn main() {}

use dmamap::map::{FromDevice, PooledBuffer};
use dmamap::platform::Platform;

fn example<P: Platform>(mut block: PooledBuffer<P, FromDevice>) {
    let view = block.sync_for_cpu();
    // Somebody else may take it now.
    drop(block);
    let _ = view.read_at(0, &mut [0; 4]);
}

fn main() {}

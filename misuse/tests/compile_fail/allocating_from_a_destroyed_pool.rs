use dmamap::map::DmaPool;
use dmamap::platform::Platform;

fn example<P: Platform>(pool: DmaPool<P, u64>) {
    let _ = pool.destroy();
    let _ = pool.try_alloc();
}

fn main() {}

use dmamap::map::{AtomicBlock, PoolBlock};
use dmamap::platform::Platform;

fn example<P: Platform>(block: &PoolBlock<P, u64>, urgent: &AtomicBlock<P, u64>) {
    std::thread::scope(|scope| {
        scope.spawn(|| block.write(0, 1));
        scope.spawn(|| urgent.write(0, 1));
    });
}

fn main() {}

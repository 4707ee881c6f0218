//! What runs under a platform's lock, which interrupts may be off for: the general allocator is not called there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use dmamap::buffer::PackedFrames;
use rig::{Arena, Random, SpinLock, locks_held};

/// Calls of the allocator by threads that held a lock.
static CALLS_UNDER_LOCKS: AtomicUsize = AtomicUsize::new(0);

struct Watched;

impl Watched {
    fn note() {
        if locks_held() > 0 {
            CALLS_UNDER_LOCKS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: all is done by the system's allocator, as it was asked.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        Self::note();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, len_bytes: usize) -> *mut u8 {
        Self::note();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, len_bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Shows that what is looked for would be found: a call under a lock counts, and one after it does not.
fn assert_watching() {
    let lock = lock_api::Mutex::<SpinLock, ()>::new(());
    let held = lock.lock();
    drop(std::hint::black_box(Box::new(1)));
    drop(held);
    drop(std::hint::black_box(Box::new(2)));
    let calls = CALLS_UNDER_LOCKS.swap(0, Ordering::Relaxed);
    assert_eq!(calls, 2, "one box came and went under the lock");
}

#[test]
fn blocks_come_and_go_without_the_allocator() {
    assert_watching();
    for block_bytes in [8, 200, 1000, 4096] {
        // Each thread ends with some 400 blocks, 600 at most; a block may take a frame, and the three may end together.
        let arena = Arena::new(2048);
        let packed = PackedFrames::new(arena, block_bytes);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let packed = &packed;
                scope.spawn(move || {
                    let random = Random::seeded(seed);
                    let mut blocks = Vec::new();
                    for round in 0..600_u64 {
                        let mut block = packed.allocate().unwrap();
                        assert!(block.as_slice().iter().all(|&byte| byte == 0));
                        block.as_mut_slice().fill(round as u8 | 1);
                        blocks.push((block, round as u8 | 1));
                        if random.below(3) == 0 {
                            let n = random.below(blocks.len() as u64) as usize;
                            let (block, byte) = blocks.swap_remove(n);
                            assert!(block.as_slice().iter().all(|&other| other == byte));
                        }
                    }
                });
            }
        });
        // All came back, and are lent again before a frame is asked for.
        let frames = packed.frames();
        assert_eq!(frames, arena.in_use());
        let blocks_each = 4096 / block_bytes as usize;
        let all = (0..frames * blocks_each).map(|_| packed.allocate().unwrap());
        let mut all: Vec<_> = all.collect();
        assert_eq!(packed.frames(), frames);
        while let Some(block) = all.pop() {
            drop(block);
        }
        drop((all, packed));
        assert_eq!(arena.in_use(), 0);
    }
    assert_eq!(CALLS_UNDER_LOCKS.load(Ordering::Relaxed), 0);
}

//! Pools of blocks.

use std::sync::Mutex;
use std::thread;

use dmamap::device::Device;
use dmamap::map::{
    CoherentError, CoherentFailure, DestroyError, DmaPool, LayoutError, PoolBlock, PoolError,
    PoolFigures, PoolLayout,
};
use hosted::Hosted;

use rig::patience::{NEVER, wait_until};
use rig::{EDU, HEARTBEAT, PAGE, Rig, impatient, small, try_read, try_write};

fn assert_shared_by_threads<T: Send + Sync>(_: &T) {}

/// A pool with as many blocks in use as were asked for.
fn busy(
    device: &Device<Hosted>,
    blocks: usize,
) -> (DmaPool<Hosted, u64>, Vec<PoolBlock<Hosted, u64>>) {
    let pool = device.create_pool("lists", PoolLayout::of(32)).unwrap();
    let blocks = (0..blocks).map(|_| pool.zalloc(device).unwrap()).collect();
    (pool, blocks)
}

#[test]
fn blocks_have_the_alignment_and_keep_to_the_boundary() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    for (elements, align, boundary, per_page) in [
        (100_usize, 1, 0, 40), // 100 bytes
        (100, 32, 0, 32),      // 128 bytes
        (100, 64, 1024, 32),   // 128 bytes, 8 to a kilobyte
        (100, 4, 128, 32),     // 100 bytes, one to 128
        (100, 4, 512, 40),     // 100 bytes, five to 512
        (1500, 4, 2048, 2),    // one to 2 KiB
        (4096, 4096, 4096, 1), // a page
        (5000, 1, 0, 1),       // two pages each
        (5000, 1, 1 << 30, 1), // never across, as pages are aligned
        (5000, 8192, 8192, 1),
        (1, 1, 0, 512), // as many as a page's record tells apart
    ] {
        let layout = PoolLayout::of(elements).align(align).boundary(boundary);
        let pool = device.create_pool::<u8>("blocks", layout).unwrap();
        let blocks: Vec<_> = (0..per_page + 1)
            .map(|_| pool.alloc(&device).unwrap())
            .collect();
        for block in &blocks {
            let (first, last) = (
                block.range().start().as_u64(),
                block.range().last().as_u64(),
            );
            assert_eq!(last - first + 1, elements as u64);
            assert!(first.is_multiple_of(align), "{layout:?}: {block:?}");
            if let Some(first_side) = first.checked_div(boundary) {
                assert_eq!(first_side, last / boundary, "{layout:?}: {block:?}");
            }
        }
        let figures = pool.figures();
        assert_eq!(figures.pages, 2, "{layout:?}: {figures:?}");
        assert_eq!(figures.live_blocks, per_page + 1);
        drop(blocks);
        pool.destroy().unwrap();
    }
    drop(device);
    rig.finish();
}

#[test]
fn blocks_that_cannot_be_are_refused() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let check = |layout, expected: LayoutError| {
        let refused = device.create_pool::<u32>("none", layout).map(drop);
        let name = "none";
        assert_eq!(
            refused,
            Err(PoolError::Layout {
                device: EDU,
                name,
                error: expected
            })
        );
    };
    let of = PoolLayout::of;
    check(of(0), LayoutError::Empty);
    for align_bytes in [0, 3, 48, u64::MAX] {
        let error = LayoutError::Alignment { align_bytes };
        check(of(8).align(align_bytes), error);
    }
    for (boundary_bytes, align, block_bytes) in [
        (16, 1, 32),
        (48, 1, 32),
        (4097, 1, 32),
        (32, 64, 64),
        (u64::MAX, 1, 32),
    ] {
        let error = LayoutError::Boundary {
            block_bytes,
            boundary_bytes,
        };
        check(of(8).align(align).boundary(boundary_bytes), error);
    }
    for elements in [usize::MAX, usize::MAX / 2, usize::MAX / 4] {
        let error = LayoutError::TooLong {
            elements,
            element_bytes: 4,
        };
        check(of(elements), error);
    }
    let pool = device.create_pool::<u32>("large", of(1 << 40)).unwrap();
    let refused = pool.alloc(&device).map(drop);
    assert!(
        matches!(
            refused,
            Err(PoolError::Memory {
                error: CoherentError {
                    failure: CoherentFailure::Buffer(_),
                    ..
                },
                ..
            })
        ),
        "{refused:?}"
    );
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn a_block_is_memory_that_the_device_reaches_and_zalloc_clears_it() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let layout = PoolLayout::of(8).align(64);
    let pool = edu.device().create_pool::<u64>("words", layout).unwrap();
    let one = pool.zalloc(edu.device()).unwrap();
    let two = pool.zalloc(edu.device()).unwrap();
    one.write(3, 0x1234).unwrap();
    try_read(&mut edu, one.element_bus_addr(3).unwrap(), 8);
    try_write(&mut edu, two.element_bus_addr(5).unwrap(), 8);
    assert_eq!(two.read(5), Ok(0x1234));
    assert_eq!((two.read(4), two.read(6)), (Ok(0), Ok(0)));
    assert!(two.read(8).is_err());
    assert!(two.write_at(60, 0_u64).is_err());
    let at = two.bus_addr();
    two.free();
    // What comes next is what was freed last or before: cleared only if that is asked for.
    let mut again = Vec::new();
    let found = loop {
        let block = pool.zalloc(edu.device()).unwrap();
        if block.bus_addr() == at {
            break block;
        }
        again.push(block);
    };
    assert_eq!(found.read(5), Ok(0));
    drop((again, found, one));
    pool.destroy().unwrap();
    drop(edu);
    rig.finish();
}

#[test]
fn a_pool_in_use_is_not_destroyed_and_comes_back_with_the_count() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let (pool, mut blocks) = busy(&device, 33);
    let pool = match pool.destroy() {
        Err(DestroyError::InUse {
            pool,
            live_blocks: 33,
        }) => pool,
        other => panic!("{other:?}"),
    };
    assert_eq!(blocks[32].read(31), Ok(0), "the memory is still there");
    blocks.truncate(1);
    let error = pool.destroy().unwrap_err();
    assert!(error.to_string().contains("1 blocks"), "{error}");
    let DestroyError::InUse { pool, .. } = error else {
        panic!("{error}")
    };
    drop(blocks);
    pool.destroy().unwrap();
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    assert_eq!(device.figures().live_mappings, 0);
    drop(device);
    rig.finish();
}

#[test]
fn a_pool_that_is_dropped_lives_until_its_last_block_is_freed() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let (pool, mut blocks) = busy(&device, 20);
    drop(pool);
    let last = blocks.pop().unwrap();
    drop(blocks);
    last.write(31, 5).unwrap();
    assert_eq!(last.read(31), Ok(5));
    assert!(device.translate(last.bus_addr()).is_some());
    let bus = last.bus_addr();
    // Also when the device is gone by then, and on another thread.
    thread::scope(|scope| scope.spawn(move || last.free()).join().unwrap());
    assert_eq!(device.translate(bus), None);
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);

    let (pool, blocks) = busy(&device, 3);
    drop(pool);
    device.detach().unwrap();
    blocks[0].write(0, 1).unwrap();
    assert_eq!(blocks[0].read(0), Ok(1));
    drop(blocks);
    rig.finish();
}

#[test]
fn forgetting_a_block_keeps_its_memory_and_nothing_is_handed_out_twice() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let (pool, mut blocks) = busy(&device, 2);
    let forgotten = blocks.pop().unwrap();
    let (bus, phys) = (forgotten.range(), device.translate(forgotten.bus_addr()));
    std::mem::forget(forgotten);
    drop(blocks);
    let others: Vec<_> = (0..100).map(|_| pool.alloc(&device).unwrap()).collect();
    for block in &others {
        assert!(!crate::overlap(block.range(), bus));
    }
    drop(others);
    assert!(pool.shrink().unwrap() > 0);
    assert!(matches!(
        pool.destroy(),
        Err(DestroyError::InUse { live_blocks: 1, .. })
    ));
    assert_eq!(device.translate(bus.start()), phys);
    device.detach().unwrap();
    let report = rig.finish_with_losses();
    assert!(report.frames.in_use > 0, "the page is kept");
    assert_eq!(report.frames.disturbed, 0);
}

#[test]
fn what_a_device_writes_to_free_blocks_changes_no_address_and_is_noticed() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let layout = PoolLayout::of(8).align(64).poison();
    let pool = edu.device().create_pool::<u64>("words", layout).unwrap();
    let blocks: Vec<_> = (0..8).map(|_| pool.alloc(edu.device()).unwrap()).collect();
    let places: Vec<_> = blocks.iter().map(|block| block.range()).collect();
    assert_eq!(pool.figures().disturbed, 0);
    drop(blocks);
    // The device scribbles over all eight, as if to forge a list of free ones.
    for place in &places {
        try_write(&mut edu, place.start(), 64);
    }
    let (blocks, lines) = crate::logged_by(|| {
        let all = (0..8).map(|_| pool.alloc(edu.device()).unwrap());
        all.collect::<Vec<_>>()
    });
    let mut again: Vec<_> = blocks.iter().map(|block| block.range()).collect();
    again.sort_by_key(|range| range.start());
    let mut places = places;
    places.sort_by_key(|range| range.start());
    assert_eq!(again, places);
    assert_eq!(pool.figures().disturbed, 8);
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("words")), "{lines:?}");
    drop(blocks);
    // What nobody wrote to is as it was left.
    let blocks: Vec<_> = (0..8).map(|_| pool.alloc(edu.device()).unwrap()).collect();
    assert_eq!(pool.figures().disturbed, 8);
    drop(blocks);
    pool.destroy().unwrap();
    drop(edu);
    rig.finish();
}

#[test]
fn blocks_are_reserved_in_advance_and_pages_go_back_when_asked() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let pool = device
        .create_pool::<u64>("lists", PoolLayout::of(32))
        .unwrap();
    let refused = pool.try_alloc().map(drop);
    let exhausted = |blocks| PoolError::Exhausted {
        name: "lists",
        device: EDU,
        blocks,
    };
    assert_eq!(refused, Err(exhausted(0)));
    pool.reserve(&device, 40).unwrap();
    let expected = PoolFigures {
        live_blocks: 0,
        peak_blocks: 0,
        free_blocks: 48,
        pages: 3,
        disturbed: 0,
    };
    assert_eq!(pool.figures(), expected);
    let mut blocks: Vec<_> = (0..48).map(|_| pool.try_alloc().unwrap()).collect();
    assert_eq!(pool.try_alloc().map(drop), Err(exhausted(48)));
    assert_eq!(pool.shrink(), Ok(0));
    blocks.sort_by_key(|block| block.bus_addr());
    // The middle page is in use by one block.
    let kept = blocks.remove(20);
    drop(blocks);
    assert_eq!(pool.shrink(), Ok(2));
    let expected = PoolFigures {
        live_blocks: 1,
        peak_blocks: 48,
        free_blocks: 15,
        pages: 1,
        disturbed: 0,
    };
    assert_eq!(pool.figures(), expected);
    drop(kept);
    assert_eq!(pool.shrink(), Ok(1));
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn a_pool_is_grown_by_its_own_device_only() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let other = rig.attach(HEARTBEAT);
    let pool = device
        .create_pool::<u64>("lists", PoolLayout::of(32))
        .unwrap();
    let foreign = PoolError::ForeignDevice {
        name: "lists",
        device: HEARTBEAT,
    };
    assert_eq!(pool.alloc(&other).map(drop), Err(foreign));
    assert_eq!(pool.reserve(&other, 1), Err(foreign));
    let block = pool.alloc(&device).unwrap();
    // The same device, but attached anew, has none of the pool's pages.
    device.detach().unwrap();
    let again = rig.attach(EDU);
    assert!(matches!(
        pool.alloc(&again).map(drop),
        Err(PoolError::ForeignDevice { .. })
    ));
    drop((block, pool, other, again));
    rig.finish();
}

#[test]
fn threads_share_a_pool() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let pool = device
        .create_pool::<u64>("lists", PoolLayout::of(4).align(32).poison())
        .unwrap();
    assert_shared_by_threads(&pool);
    let given = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for mark in 1..=4_u64 {
            let (pool, device, given) = (&pool, &device, &given);
            scope.spawn(move || {
                for round in 0..400 {
                    let block = pool.alloc(device).unwrap();
                    (0..4).for_each(|n| block.write(n, mark << 32 | round).unwrap());
                    // Some are freed by whoever comes next.
                    let other: Option<PoolBlock<_, u64>> = {
                        let mut given = given.lock().unwrap();
                        given.push(block);
                        match round % 3 {
                            0 => None,
                            _ => Some(given.swap_remove(0)),
                        }
                    };
                    if let Some(block) = other {
                        let words: Vec<_> = (0..4).map(|n| block.read(n).unwrap()).collect();
                        assert!(words.iter().all(|&word| word == words[0]), "{words:x?}");
                    }
                    if round % 50 == 0 {
                        pool.shrink().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(pool.figures().disturbed, 0);
    drop(given);
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn a_block_may_be_taken_and_freed_in_an_interrupt_handler() {
    use dmamap::platform::Platform;
    use std::sync::Arc;
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let pool = device
        .create_pool::<u64>("lists", PoolLayout::of(32))
        .unwrap();
    pool.reserve(&device, 2).unwrap();
    let pool = Arc::new(pool);
    let (sender, receiver) = std::sync::mpsc::channel();
    let (in_handler, sender) = (pool.clone(), Mutex::new(sender));
    let now = rig.kernel.now_ns();
    let handler = move || {
        let block = in_handler.try_alloc().unwrap();
        block.write(0, PAGE).unwrap();
        let read = block.read(0);
        block.free();
        sender.lock().unwrap().send(read).unwrap();
    };
    rig.kernel.call_at(now, Arc::new(handler));
    assert_eq!(receiver.recv_timeout(NEVER), Ok(Ok(PAGE)));
    // The handler is dropped with its timer; until then it holds the pool.
    wait_until("the handler is dropped", || Arc::strong_count(&pool) == 1);
    let pool = Arc::into_inner(pool).unwrap();
    assert_eq!(pool.figures().peak_blocks, 1);
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn memory_of_a_pool_that_the_device_may_still_reach_is_kept_until_it_is_detached() {
    let rig = Rig::boot_with(small(), impatient(200));
    let device = rig.attach(EDU);
    let (pool, blocks) = busy(&device, 20);
    drop(blocks);
    rig.unit(0).hold_queue();
    let destroyed = pool.destroy();
    assert!(
        matches!(destroyed, Err(DestroyError::Quarantined(_))),
        "{destroyed:?}"
    );
    rig.unit(0).release_queue();
    assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
    // A detach that the unit confirms gives it back.
    drop(device);
    rig.finish();
}

//! Blocks that stay mapped: nobody waits for a unit to use them, and none has two owners.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use dmamap::map::{BufferPool, BufferPoolFailure, FromDevice, ToDevice};
use machine::temper::Temper;

use super::kinds::kinds;
use super::{BYTES, Bidirectional, LONG_MS, attach_deferred, load};
use rig::{EDU, Rig, small, try_write};

#[test]
fn taking_and_giving_back_asks_nothing_of_the_unit_nor_of_memory() {
    for kind in kinds() {
        let mut rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let mut edu = rig.edu();
        load(&mut edu, 0x77);
        let pool = BufferPool::allocate(edu.device(), 8, 100, FromDevice).unwrap();
        let (commands, frames) = (rig.system().invalidations(), rig.frames_in_use());
        for round in 0..50 {
            let mut block = pool.take().unwrap();
            assert_eq!(block.len_bytes(), 100);
            // SAFETY: the device writes into a block that lives.
            unsafe { edu.store_at(block.bus_addr(), BYTES) }.unwrap();
            let mut seen = [0; BYTES as usize];
            block.sync_for_cpu().read_at(0, &mut seen).unwrap();
            assert_eq!(seen, [0x77; BYTES as usize], "{}: round {round}", kind.name);
        }
        assert_eq!(rig.system().invalidations(), commands);
        assert_eq!(rig.frames_in_use(), frames);
        assert_eq!(edu.device().figures().maps, 2);
        let bus = pool.range().start();
        pool.free().unwrap();
        try_write(&mut edu, bus, BYTES);
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn blocks_are_apart_and_all_can_be_taken() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    for (blocks, bytes) in [(1, 1), (3, 4096), (64, 100), (5, 129), (33, 2048)] {
        let pool = BufferPool::allocate(&device, blocks, bytes, ToDevice).unwrap();
        assert_eq!((pool.blocks(), pool.available()), (blocks, blocks));
        let mut taken: Vec<_> = (0..blocks).map(|_| pool.take().unwrap()).collect();
        assert!(pool.take().is_none());
        let mut lines = HashSet::new();
        for block in &mut taken {
            let first = block.bus_addr().as_u64();
            for line in first / 64..=(first + bytes - 1) / 64 {
                assert!(lines.insert(line), "two blocks in one line");
            }
            let mut view = block.sync_for_cpu();
            view.write_at(bytes - 1, &[1]).unwrap();
            view.write_at(bytes, &[1]).unwrap_err();
            drop(view);
            block.sync_range_for_cpu(1, bytes).map(drop).unwrap_err();
        }
        drop(taken);
        assert_eq!(pool.available(), blocks);
        pool.free().unwrap();
    }
    for (blocks, bytes) in [
        (0, 1),
        (1, 0),
        (usize::MAX, 1),
        (1, u64::MAX),
        (1 << 20, 1 << 60),
    ] {
        let refused = BufferPool::allocate(&device, blocks, bytes, ToDevice).unwrap_err();
        assert!(
            matches!(refused.failure, BufferPoolFailure::Shape { .. }),
            "{refused}"
        );
    }
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_block_has_one_owner_whatever_threads_do() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let pool = BufferPool::allocate(&device, 4, 64, Bidirectional).unwrap();
    let owned = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for pattern in 1..=6u8 {
            let (pool, owned) = (&pool, &owned);
            scope.spawn(move || {
                for _ in 0..500 {
                    let Some(mut block) = pool.take() else {
                        thread::yield_now();
                        continue;
                    };
                    let bus = block.bus_addr();
                    assert!(owned.lock().unwrap().insert(bus), "{bus} has two owners");
                    let mut view = block.sync_for_cpu();
                    view.write_at(0, &[pattern; 64]).unwrap();
                    let mut seen = [0; 64];
                    view.read_at(0, &mut seen).unwrap();
                    assert_eq!(seen, [pattern; 64]);
                    drop(view);
                    owned.lock().unwrap().remove(&bus);
                }
            });
        }
    });
    drop(pool);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn blocks_outlive_their_pool_and_their_device() {
    let rig = Rig::boot(small());
    let device = attach_deferred(&rig);
    let pool = BufferPool::allocate(&device, 2, 64, Bidirectional).unwrap();
    let (first, mut second) = (pool.take().unwrap(), pool.take().unwrap());
    let bus = second.bus_addr();
    pool.free().unwrap();
    assert!(device.translate(bus).is_some(), "a block keeps the pool");
    drop(first);
    assert!(device.translate(bus).is_some());
    device.detach().unwrap();
    second.sync_for_cpu().write_at(0, &[1; 64]).unwrap();
    drop(second);
    let device = attach_deferred(&rig);
    let pool = BufferPool::allocate(&device, 2, 64, Bidirectional).unwrap();
    let block = pool.take().unwrap();
    let bus = block.bus_addr();
    drop(pool);
    drop(block);
    assert_eq!(device.translate(bus), None);
    assert_eq!(device.flush_figures().waiting, 0);
    device.detach().unwrap();
    rig.finish();
}

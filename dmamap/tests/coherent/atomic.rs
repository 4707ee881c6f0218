//! Coherent memory made ready in advance.

use dmamap::map::{
    AtomicDestroyError, AtomicPoolError, AtomicPoolFigures, CoherentError, CoherentFailure,
};
use hosted::{FaultInjector, Hosted, Resource};
use journeys::boot::BootOptions;
use machine::Machine;

use rig::Random;
use rig::{EDU, HEARTBEAT, PAGE, Rig, small, try_read, try_write};

#[test]
fn allocating_takes_no_frame_maps_nothing_and_freeing_invalidates_nothing() {
    let machine = Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let mut rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
    let mut edu = rig.edu();
    let pool = edu.device().create_atomic_pool(4 * PAGE).unwrap();
    let (lent, invalidations) = (rig.frames_in_use(), rig.system().invalidations());
    let figures = edu.device().figures();
    injector.exhaust_from(Resource::Frames, 1);
    let words = pool.alloc::<u64>(8).unwrap();
    let table = pool.alloc::<u32>(1024).unwrap();
    assert_eq!(table.bus_addr().as_u64() % PAGE, 0);
    words.write(2, 0xabcd).unwrap();
    try_read(&mut edu, words.element_bus_addr(2).unwrap(), 8);
    try_write(&mut edu, table.element_bus_addr(1000).unwrap(), 4);
    assert_eq!(table.read(1000), Ok(0xabcd));
    table.free();
    words.free();
    // What was used comes back zeroed.
    for _ in 0..4 {
        let again = pool.alloc::<u32>(4096).unwrap();
        assert_eq!((0..again.len()).find(|&n| again.read(n) != Ok(0)), None);
        again.write(1000, 1).unwrap();
    }
    assert_eq!(injector.injected(), 0);
    injector.relent();
    assert_eq!(rig.frames_in_use(), lent);
    assert_eq!(rig.system().invalidations(), invalidations);
    assert_eq!(edu.device().figures(), figures);
    pool.destroy().unwrap();
    drop(edu);
    rig.finish();
}

#[test]
fn exhaustion_is_reported_and_ended_by_growing() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let pool = device.create_atomic_pool(1).unwrap();
    let all: Vec<_> = (0..64).map(|_| pool.alloc::<u8>(64).unwrap()).collect();
    let exhausted = AtomicPoolError::Exhausted {
        device: EDU,
        len_bytes: 1,
        free_bytes: 0,
    };
    assert_eq!(pool.alloc::<u8>(1).map(drop), Err(exhausted));
    pool.grow(&device, 2 * PAGE).unwrap();
    let two = pool.alloc::<u8>(2 * PAGE as usize).unwrap();
    assert_eq!(two.bus_addr().as_u64() % (2 * PAGE), 0);
    let expected = AtomicPoolFigures {
        bytes: 3 * PAGE as usize,
        free_bytes: 0,
        live_blocks: 65,
        regions: 2,
        refused: 1,
    };
    assert_eq!(pool.figures(), expected);
    let Err(AtomicDestroyError::InUse { pool, live_blocks }) = pool.destroy() else {
        panic!("destroyed while in use")
    };
    assert_eq!(live_blocks, 65);
    drop((all, two));
    for _ in 2..8 {
        pool.grow(&device, PAGE).unwrap();
    }
    let before = rig.frames_in_use();
    assert!(matches!(
        pool.grow(&device, PAGE),
        Err(AtomicPoolError::TooLarge { .. })
    ));
    device.reclaim().unwrap();
    assert!(rig.frames_in_use() <= before);
    assert_eq!(pool.figures().regions, 8);
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn what_an_atomic_pool_cannot_be_asked_for_is_refused() {
    #[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
    #[repr(C, align(128))]
    struct Wide([u64; 16]);

    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let other = rig.attach(HEARTBEAT);
    let pool = device.create_atomic_pool(PAGE).unwrap();
    assert!(matches!(
        pool.alloc::<u64>(0).map(drop),
        Err(AtomicPoolError::Element { .. })
    ));
    assert!(matches!(
        pool.alloc::<[u64; 0]>(3).map(drop),
        Err(AtomicPoolError::Element { .. })
    ));
    assert!(matches!(
        pool.alloc::<Wide>(1).map(drop),
        Err(AtomicPoolError::Element { align: 128, .. })
    ));
    for count in [513, usize::MAX / 8, usize::MAX] {
        let refused = pool.alloc::<u64>(count).map(drop);
        assert!(
            matches!(refused, Err(AtomicPoolError::Exhausted { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        pool.grow(&other, PAGE),
        Err(AtomicPoolError::ForeignDevice { device: HEARTBEAT })
    );
    assert!(matches!(
        pool.grow(&device, (1 << 20) + 1),
        Err(AtomicPoolError::TooLarge { .. })
    ));
    pool.destroy().unwrap();
    drop((device, other));
    rig.finish();
}

#[test]
fn a_dropped_atomic_pool_lives_until_its_last_block_is_freed() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let pool = device.create_atomic_pool(PAGE).unwrap();
    let block = pool.alloc::<u64>(4).unwrap();
    drop(pool);
    block.write(3, 4).unwrap();
    assert_eq!(block.read(3), Ok(4));
    let bus = block.bus_addr();
    drop(block);
    assert_eq!(device.translate(bus), None);
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    drop(device);
    rig.finish();
}

#[test]
fn runs_never_overlap_and_are_aligned_to_their_order() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let random = Random::from_environment(0xa70);
    let pool = device.create_atomic_pool(4 * PAGE).unwrap();
    pool.grow(&device, 3 * PAGE).unwrap();
    let mut live: Vec<dmamap::map::AtomicBlock<_, u8>> = Vec::new();
    let mut refused = 0;
    for step in 0..3000 {
        if random.below(2) == 0 {
            let len = 1 + random.below(3000) as usize;
            match pool.alloc::<u8>(len) {
                Ok(block) => {
                    let order = len.div_ceil(64).next_power_of_two() as u64 * 64;
                    assert!(block.bus_addr().as_u64().is_multiple_of(order));
                    let units = |block: &dmamap::map::AtomicBlock<_, u8>| {
                        let range = block.range();
                        range.start().as_u64() / 64..=range.last().as_u64() / 64
                    };
                    let mine = units(&block);
                    let clash = live
                        .iter()
                        .map(units)
                        .find(|other| mine.start() <= other.end() && other.start() <= mine.end());
                    assert_eq!(clash, None, "step {step}");
                    live.push(block);
                }
                Err(AtomicPoolError::Exhausted { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        } else if !live.is_empty() {
            drop(live.swap_remove(random.below(live.len() as u64) as usize));
        }
        let used: usize = live.iter().map(|one| one.len().next_multiple_of(64)).sum();
        let figures = pool.figures();
        assert_eq!(figures.bytes - figures.free_bytes, used, "step {step}");
        assert_eq!(figures.live_blocks, live.len());
    }
    assert_eq!(pool.figures().refused, refused);
    drop(live);
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn a_pool_that_cannot_be_filled_is_not_made() {
    let rig = Rig::boot(crate::little_memory());
    let device = rig.attach(EDU);
    let fragmented = crate::Fragmented::of(rig.kernel);
    // Half of the frames are left, and none in a row: behind an IOMMU that is enough.
    let pool = device.create_atomic_pool(1 << 20).unwrap();
    let mut all = vec![pool];
    let error = loop {
        match device.create_atomic_pool(1 << 20) {
            Ok(pool) => all.push(pool),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            error,
            AtomicPoolError::Memory(CoherentError {
                failure: CoherentFailure::Buffer(_),
                ..
            })
        ),
        "{error}"
    );
    drop((all, fragmented, device));
    rig.finish();
}

//! The slab: objects in frames.

use std::num::NonZeroU32;
use std::rc::Rc;

use dmamap::slab::{Handle, Slab, SlabError};
use rig::{Arena, Random};

#[test]
fn a_new_slab_holds_no_frame() {
    let arena = Arena::new(8);
    let slab = Slab::<_, u64>::new(arena);
    assert_eq!((slab.frames(), slab.len(), arena.in_use()), (0, 0, 0));
}

#[test]
fn a_handle_reaches_its_object_until_it_is_removed() {
    let mut slab = Slab::new(Arena::new(8));
    let first = slab.insert(1u64).unwrap();
    let second = slab.insert(2).unwrap();
    slab[first] += 10;
    assert_eq!((slab[first], slab[second]), (11, 2));
    assert_eq!(slab.remove(first), Some(11));
    assert_eq!(slab.get(first), None);
    assert_eq!(slab.remove(first), None);
    assert_eq!(slab[second], 2);
}

#[test]
fn no_number_reaches_anything_that_is_not_an_object() {
    let mut slab = Slab::new(Arena::new(8));
    let live = slab.insert(7u64).unwrap();
    let random = Random::from_environment(1);
    for n in (1..100_000).chain((0..100_000).map(|_| random.next() as u32)) {
        let Some(number) = NonZeroU32::new(n) else {
            continue;
        };
        let handle = Handle::from_number(number);
        assert_eq!(slab.get(handle).is_some(), handle == live);
    }
}

#[test]
#[should_panic(expected = "a handle names a live object")]
fn indexing_with_a_stale_handle_panics() {
    let mut slab = Slab::new(Arena::new(8));
    let handle = slab.insert(1u64).unwrap();
    slab.remove(handle);
    let _ = slab[handle];
}

#[test]
fn reclaim_gives_back_every_frame_without_an_object() {
    let arena = Arena::new(256);
    let mut slab = Slab::new(arena);
    let handles: Vec<_> = (0..10_000u64)
        .map(|n| slab.insert([n; 8]).unwrap())
        .collect();
    let full = slab.frames();
    assert_eq!(full, arena.in_use());
    for (n, handle) in handles.iter().enumerate().filter(|(n, _)| n % 1000 != 0) {
        assert_eq!(slab.remove(*handle), Some([n as u64; 8]));
    }
    let returned = slab.reclaim();
    assert_eq!(slab.frames(), full - returned);
    assert_eq!(
        slab.frames(),
        10 + 2,
        "ten objects far apart, and a directory"
    );
    handles
        .iter()
        .step_by(1000)
        .for_each(|handle| assert!(slab.remove(*handle).is_some()));
    slab.reclaim();
    assert_eq!((slab.frames(), arena.in_use()), (0, 0));
    slab.insert([0; 8]).unwrap();
    assert_eq!(slab.frames(), 3);
}

#[test]
fn a_full_directory_takes_a_frame_again_after_one_went() {
    // One object fills a frame, and 504 frames a directory.
    let mut slab = Slab::new(Arena::new(600));
    let handles: Vec<_> = (0..504u64)
        .map(|n| slab.insert([n; 500]).unwrap())
        .collect();
    assert_eq!(slab.frames(), 504 + 2);
    slab.remove(handles[100]);
    slab.reclaim();
    slab.insert([0; 500]).unwrap();
    assert_eq!(slab.frames(), 504 + 2);
    slab.insert([0; 500]).unwrap();
    assert_eq!(slab.frames(), 505 + 3);
}

#[test]
fn a_reservation_makes_insertions_succeed() {
    let arena = Arena::new(64);
    let mut slab = Slab::new(arena);
    slab.reserve(1000).unwrap();
    arena.fail_from(Some(0));
    (0..1000u64).for_each(|n| {
        slab.insert(n).unwrap();
    });
}

#[test]
fn each_missing_frame_leaves_the_slab_as_it_was() {
    let arena = Arena::new(64);
    for failing in 0.. {
        let mut slab = Slab::new(arena);
        arena.fail_from(Some(failing));
        match slab.insert(1u64) {
            Ok(_) => {
                assert_eq!(failing, 3, "an object's frame and two directories");
                break;
            }
            Err(SlabError::OutOfFrames(_)) => {
                assert_eq!((slab.frames(), slab.len(), arena.in_use()), (0, 0, 0));
            }
            Err(error) => panic!("{error}"),
        }
        arena.fail_from(None);
        slab.insert(2).unwrap();
        drop(slab);
        assert_eq!(arena.in_use(), 0);
    }
}

#[test]
fn dropping_the_slab_drops_objects_and_frees_frames() {
    let arena = Arena::new(64);
    let counted = Rc::new(());
    let mut slab = Slab::new(arena);
    let handles: Vec<_> = (0..1000)
        .map(|_| slab.insert(counted.clone()).unwrap())
        .collect();
    drop(slab.remove(handles[500]));
    assert_eq!(Rc::strong_count(&counted), 1000);
    drop(slab);
    assert_eq!(Rc::strong_count(&counted), 1);
    assert_eq!(arena.in_use(), 0);
}

#[test]
fn objects_of_every_size_and_alignment_fit() {
    fn check<T: Clone + PartialEq + std::fmt::Debug>(value: T) {
        let mut slab = Slab::new(Arena::new(400));
        let handles: Vec<_> = (0..300)
            .map(|_| slab.insert(value.clone()).unwrap())
            .collect();
        for handle in handles {
            assert_eq!(&raw const slab[handle] as usize % align_of::<T>(), 0);
            assert_eq!(slab.remove(handle), Some(value.clone()));
        }
        slab.reclaim();
        assert_eq!(slab.frames(), 0);
    }
    #[derive(Clone, PartialEq, Debug)]
    #[repr(align(256))]
    struct Aligned(u8);
    check(());
    check(1u8);
    check([1u16; 3]);
    check([1u64; 500]);
    check(Aligned(3));
}

#[test]
fn random_use_agrees_with_a_map() {
    let arena = Arena::new(1024);
    let random = Random::from_environment(2);
    let mut slab = Slab::new(arena);
    let mut oracle = Vec::new();
    for step in 0..200_000u64 {
        let growing = step / 20_000 % 2 == 0;
        match random.below(10) {
            0 if random.below(100) == 0 => {
                slab.reclaim();
            }
            n if oracle.is_empty() || (n < 7) == growing => {
                let handle = slab.insert([step; 5]).unwrap();
                oracle.push((handle, step));
            }
            _ => {
                let at = random.below(oracle.len() as u64) as usize;
                let (handle, value) = oracle.swap_remove(at);
                assert_eq!(slab.remove(handle), Some([value; 5]));
            }
        }
        assert_eq!(slab.len(), oracle.len());
        assert_eq!(slab.frames(), arena.in_use());
    }
    oracle
        .iter()
        .for_each(|(handle, value)| assert_eq!(slab[*handle], [*value; 5]));
}

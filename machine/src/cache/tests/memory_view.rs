//! What a walk sees, and when.

use std::sync::Arc;

use board::ram::Ram;

use crate::cache::{LINE_BYTES, MemoryView, POISON, Snooping};

fn view(snooping: Snooping) -> (Arc<Ram>, MemoryView) {
    let ram = Ram::new(&[0..0x10000]).unwrap();
    (Arc::clone(&ram), MemoryView::new(ram, snooping, 3))
}

#[test]
fn a_snooping_view_sees_every_store_at_once() {
    let (ram, view) = view(Snooping::On);
    ram.store_u64(0x1000, 5).unwrap();
    assert_eq!(view.load_u64(0x1000).unwrap(), 5);
}

#[test]
fn memory_never_cleaned_is_poison_until_its_line_is_written_back() {
    let (ram, view) = view(Snooping::Off);
    ram.store_u64(0x1000, 5).unwrap();
    let seen: Vec<u64> = (0..500).map(|_| view.load_u64(0x1000).unwrap()).collect();
    assert_eq!(seen[0], POISON);
    assert_eq!(
        *seen.last().unwrap(),
        5,
        "dirty lines are written back at some time"
    );
    assert!(seen.is_sorted_by_key(|word| *word == 5), "and stay so");
}

#[test]
fn cleaning_writes_back_every_line_it_touches_and_no_other() {
    let (ram, view) = view(Snooping::Off);
    for line in 0..4 {
        ram.store_u64(0x2000 + line * LINE_BYTES + 8, line + 1)
            .unwrap();
    }
    // From the middle of the second line to the first byte of the third.
    view.clean(0x2000 + LINE_BYTES + 32, 33);
    let load = |line: u64| view.load_u64(0x2000 + line * LINE_BYTES + 8).unwrap();
    assert_eq!((load(1), load(2)), (2, 3));
    let untouched = [load(0), load(3)].map(|word| word == POISON);
    assert!(
        untouched.contains(&true),
        "both written back by chance: choose another seed"
    );
}

#[test]
fn a_freed_frame_is_poison_again_and_its_neighbours_are_not() {
    let (ram, view) = view(Snooping::Off);
    for frame in [0x3000, 0x4000, 0x5000] {
        ram.store_u64(frame, frame).unwrap();
    }
    view.clean(0x3000, 0x3000);
    view.frames_freed(0x4000, 0x1000);
    assert_eq!(view.load_u64(0x3000).unwrap(), 0x3000);
    assert_eq!(view.load_u64(0x5000).unwrap(), 0x5000);
    assert_eq!(view.load_u64(0x4ff8).unwrap(), POISON);
}

#[test]
fn nothing_is_seen_outside_memory() {
    let (_, view) = view(Snooping::Off);
    assert!(view.load_u64(0x10000).is_err());
    assert!(view.load_u64(4).is_err());
    assert!(view.load_u128(8).is_err());
    view.clean(0xffff, 0x1000);
    view.clean(u64::MAX - 5, 6);
}

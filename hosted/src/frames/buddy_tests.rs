//! The allocator against a plain set of what is free.

use super::*;

/// A generator whose sequence a failing test can name by its seed (Marsaglia's xorshift64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Odd ranges, some across the floor of a zone.
const RANGES: [Range<u64>; 4] = [
    1..160,
    256..4099,
    5000..5777,
    (1 << 20) - 300..(1 << 20) + 700,
];

#[test]
fn random_loans_never_overlap_and_keep_their_limits() {
    for seed in 1..=20 {
        let mut rng = Rng(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut buddy = Buddy::new(RANGES);
        let everything: BTreeSet<u64> = RANGES.into_iter().flatten().collect();
        let mut free = everything.clone();
        let mut lent = Vec::new();
        for _ in 0..600 {
            if rng.below(5) < 3 {
                let (count, align) = (1 + rng.below(70), rng.below(8) as u32);
                let last = match rng.below(3) {
                    0 => rng.below(6000),
                    1 => (1 << 20) - 1,
                    _ => u64::MAX,
                };
                if let Some(start) = buddy.lend(count, align, last) {
                    assert!(start.is_multiple_of(1 << align), "seed {seed}");
                    assert!(start + count - 1 <= last, "seed {seed}");
                    for frame in start..start + count {
                        assert!(free.remove(&frame), "seed {seed}: {frame} lent twice");
                    }
                    lent.push((start, count));
                } else if count == 1 && align == 0 {
                    // A longer run may be free without being a block; a single frame always is one.
                    assert!(
                        free.first().is_none_or(|&first| first > last),
                        "seed {seed}"
                    );
                }
            } else if !lent.is_empty() {
                let (start, count) = lent.swap_remove(rng.below(lent.len() as u64) as usize);
                buddy.take_back(start, count).unwrap();
                buddy.release(start, count);
                free.extend(start..start + count);
            }
            assert_eq!(buddy.free_frames(), free.len() as u64);
        }
        for (start, count) in lent {
            buddy.take_back(start, count).unwrap();
            buddy.release(start, count);
        }
        assert_eq!(buddy.free_frames(), everything.len() as u64);
        assert_eq!(
            blocks(&buddy),
            blocks(&Buddy::new(RANGES)),
            "all blocks joined again"
        );
    }
}

fn blocks(buddy: &Buddy) -> Vec<(u32, u64)> {
    let orders = |zone: &Zone| {
        let sets = (0..).zip(&zone.free);
        sets.flat_map(|(order, set)| set.iter().map(move |&block| (order, block)))
            .collect::<Vec<_>>()
    };
    buddy.zones.iter().flat_map(orders).collect()
}

#[test]
fn unlimited_requests_spare_low_memory() {
    let mut buddy = Buddy::new([1..1 << 21]);
    for (last, zone) in [
        (u64::MAX, 1 << 20..1 << 21),
        ((1 << 20) - 1, 1 << 12..1 << 20),
        (0xfff, 1..1 << 12),
    ] {
        let frame = buddy.lend(1, 0, last).unwrap();
        assert!(zone.contains(&frame), "limit {last:#x}: frame {frame:#x}");
    }
}

#[test]
fn what_was_freed_is_lent_before_untouched_memory() {
    let mut buddy = Buddy::new([1..1 << 21]);
    let first = buddy.lend(3, 0, u64::MAX).unwrap();
    buddy.take_back(first, 3).unwrap();
    buddy.release(first, 3);
    assert_eq!(buddy.lend(3, 0, u64::MAX), Some(first));
}

#[test]
fn the_limit_may_lie_inside_a_free_block() {
    let mut buddy = Buddy::new([0x4_0000..0x8_0000]);
    assert_eq!(buddy.lend(5, 0, 0x4_0004), Some(0x4_0000));
    assert_eq!(buddy.lend(1, 0, 0x4_0004), None);
    assert_eq!(buddy.lend(1, 4, 0x4_0103), Some(0x4_0010));
}

#[test]
fn sizes_no_block_has_are_refused() {
    let mut buddy = Buddy::new([0..1 << 21]);
    assert_eq!(buddy.lend(0, 0, u64::MAX), None);
    assert_eq!(buddy.lend((1 << MAX_ORDER) + 1, 0, u64::MAX), None);
    assert_eq!(buddy.lend(1, MAX_ORDER + 1, u64::MAX), None);
    assert_eq!(buddy.lend(2, 0, 0), None);
    assert!(buddy.lend(1 << MAX_ORDER, 0, u64::MAX).is_some());
}

#[test]
fn wrong_frees_are_told_apart() {
    let mut buddy = Buddy::new([0..64]);
    let start = buddy.lend(4, 0, u64::MAX).unwrap();
    assert_eq!(buddy.take_back(start, 3), Err(FreeMistake::Length(4)));
    assert_eq!(
        buddy.take_back(start + 1, 3),
        Err(FreeMistake::Inside(start, 4))
    );
    assert_eq!(buddy.take_back(0, 1), Err(FreeMistake::NotLent));
    assert_eq!(buddy.take_back(start, 4), Ok(()));
    assert_eq!(buddy.take_back(start, 4), Err(FreeMistake::NotLent));
}

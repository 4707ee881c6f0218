//! A pool against an oracle that knows which bytes are whose.

use std::collections::BTreeMap;

use dmamap::map::{DestroyError, PoolBlock, PoolLayout};
use hosted::Hosted;

use rig::Random;
use rig::{EDU, Rig, small};

#[test]
fn random_allocations_and_frees_agree_with_an_oracle() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let random = Random::from_environment(0x9001);
    for _ in 0..12 {
        let elements = 1 + random.below(700) as usize;
        let align = 1 << random.below(9);
        let block_bytes = (2 * elements as u64).next_multiple_of(align.max(2));
        let boundary = match random.below(3) {
            0 => 0,
            _ => block_bytes.next_power_of_two() << random.below(3),
        };
        let layout = PoolLayout::of(elements).align(align).boundary(boundary);
        let pool = device.create_pool::<u16>("oracle", layout).unwrap();
        // Where blocks are, by their first bus address, and what was written to them.
        let mut live: BTreeMap<u64, (PoolBlock<Hosted, u16>, u16)> = BTreeMap::new();
        let mut peak = 0;
        for step in 0..600_u16 {
            // More at first, fewer later.
            let grow = random.below(600) >= u64::from(step) / 2 + 100;
            if grow {
                let block = pool.alloc(&device).unwrap();
                let (first, last) = (
                    block.range().start().as_u64(),
                    block.range().last().as_u64(),
                );
                assert!(first.is_multiple_of(align), "{layout:?} step {step}");
                assert!(boundary == 0 || first / boundary == last / boundary);
                assert_eq!(last - first + 1, 2 * elements as u64);
                let below = live.range(..=last).next_back();
                assert!(
                    below.is_none_or(|(_, (other, _))| other.range().last().as_u64() < first),
                    "{layout:?} step {step}: handed out twice"
                );
                for n in 0..elements {
                    block.write(n, step).unwrap();
                }
                live.insert(first, (block, step));
            } else if !live.is_empty() {
                let pick = random.below(live.len() as u64) as usize;
                let key = *live.keys().nth(pick).unwrap();
                let (block, written) = live.remove(&key).unwrap();
                for n in [0, elements / 2, elements - 1] {
                    assert_eq!(block.read(n), Ok(written), "{layout:?} step {step}");
                }
                block.free();
            }
            if random.below(97) == 0 {
                pool.shrink().unwrap();
                let figures = pool.figures();
                // No page is without a block now.
                assert!(figures.pages <= live.len());
            }
            peak = peak.max(live.len());
            let figures = pool.figures();
            assert_eq!(
                (figures.live_blocks, figures.peak_blocks),
                (live.len(), peak)
            );
        }
        let pool = match pool.destroy() {
            Err(DestroyError::InUse { pool, live_blocks }) => {
                assert_eq!(live_blocks, live.len());
                live.clear();
                pool
            }
            Ok(()) => {
                assert!(live.is_empty());
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        pool.destroy().unwrap();
        assert_eq!(device.figures().live_bytes, 0);
    }
    drop(device);
    rig.finish();
}

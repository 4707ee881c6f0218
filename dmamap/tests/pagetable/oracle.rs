//! Random use against the obvious: a map from page to page.

use std::collections::BTreeMap;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::pagetable::{Gather, MapError, Permission, Replay, UnmapError};

use crate::subject::*;
use rig::{Arena, Random};

/// From the number of a page on the bus to its physical address, its permission and its leaf.
type Oracle = BTreeMap<u64, (u64, Permission, BusRange)>;

pub(crate) fn random_use_agrees_with_a_page_by_page_oracle<F: Subject>(format: F) {
    let random = Random::from_environment(5);
    let [page, large, huge] = [1, 2, 3].map(|level| size(&format, level));
    let (arena, mut table) = table(format);
    let birth = table.frames();
    let mut oracle = Oracle::new();
    let aperture = aperture_bytes(&table);
    // Pages near some boundaries, so that mappings meet.
    let regions = [
        0,
        large,
        huge.min(aperture - 1) / page * page,
        aperture / 2 / page * page,
        aperture - aperture.min(4 * large),
    ];
    let run = run_bytes(&format, 1).unwrap_or(32 * page);
    let near = |random: &Random| {
        let region = random.pick(&regions) + random.below(1024) * page;
        let align = random.pick(&[page, page, run, large]);
        region / align * align
    };
    for step in 0..1500 {
        if random.below(2) == 0 {
            let z = near(&random);
            let memory: Vec<_> = (0..1 + random.below(4))
                .map(|_| {
                    let len_bytes = random.pick(&[1, 1, 2, 7, 64, run / page, 512, 1024]) * page;
                    phys(near(&random) % huge, len_bytes)
                })
                .collect();
            let permission =
                random.pick(&[Permission::Read, Permission::Write, Permission::ReadWrite]);
            let granted = format.granted(permission);
            let result = table.map_list(
                BusAddr::new(z),
                &mut Replay::new(memory.iter().copied()),
                permission,
            );
            let pages: Vec<u64> = memory
                .iter()
                .flat_map(|range| {
                    (0..range.len_bytes() / page).map(|n| range.start().as_u64() + n * page)
                })
                .collect();
            let taken = (0..pages.len() as u64).find(|n| oracle.contains_key(&(z / page + n)));
            let fits = z
                .checked_add(pages.len() as u64 * page - 1)
                .is_some_and(|last| last <= table.aperture_last().as_u64());
            match result {
                Ok(()) => {
                    assert!(fits && taken.is_none(), "step {step}");
                    for (n, y) in pages.iter().enumerate() {
                        let at = z + n as u64 * page;
                        let target = table.lookup(BusAddr::new(at)).expect("it was mapped");
                        assert_eq!((target.phys.as_u64(), target.permission), (*y, granted));
                        let size = 1 << target.leaf_size_log2;
                        oracle.insert(at / page, (*y, granted, bus(at / size * size, size)));
                    }
                }
                Err(MapError::AlreadyMapped { bus, .. }) => {
                    assert_eq!(
                        Some(bus.as_u64()),
                        taken.map(|n| z + n * page),
                        "step {step}"
                    );
                }
                Err(MapError::OutsideAperture { .. }) => assert!(!fits, "step {step}"),
                Err(error) => panic!("step {step}: {error}"),
            }
        } else {
            let range = random_range(&random, &oracle, near(&random), page);
            if range.last() <= table.aperture_last() {
                random_unmap(arena, &mut table, &mut oracle, range);
            }
        }
        if step % 100 == 0 {
            compare(arena, &table, &oracle);
        }
        if step % 300 == 0 {
            reclaim(arena, &mut table);
        }
    }
    let rest: Vec<BusRange> = leaves(&table).iter().map(|leaf| leaf.bus).collect();
    rest.into_iter()
        .for_each(|leaf| random_unmap(arena, &mut table, &mut oracle, leaf));
    assert!(oracle.is_empty());
    reclaim(arena, &mut table);
    assert_eq!(table.frames(), birth);
    finish(arena, table);
}

/// Whole leaves mostly, else anything.
fn random_range(random: &Random, oracle: &Oracle, near: u64, page: u64) -> BusRange {
    let Some((_, (_, _, leaf))) = oracle.range(near / page..).next() else {
        return bus(near, page);
    };
    if random.below(4) == 0 {
        return bus(near, (1 + random.below(600)) * page);
    }
    let mut end = leaf.last().as_u64() / page + 1;
    for _ in 0..random.below(700) {
        let Some((_, _, next)) = oracle.get(&end) else {
            break;
        };
        end = next.last().as_u64() / page + 1;
    }
    bus(leaf.start().as_u64(), end * page - leaf.start().as_u64())
}

fn random_unmap<F: Subject>(
    arena: Arena,
    table: &mut Table<F>,
    oracle: &mut Oracle,
    range: BusRange,
) {
    let page = page(table.format());
    let (first, last) = (range.start().as_u64() / page, range.last().as_u64() / page);
    let obstacle = (first..=last).find_map(|number| match oracle.get(&number) {
        None => Some(UnmapError::NotMapped {
            bus: BusAddr::new(number * page),
        }),
        Some((.., leaf)) if !range.covers(*leaf) => Some(UnmapError::WouldSplit { leaf: *leaf }),
        Some(_) => None,
    });
    let mut gather = Gather::new(arena);
    assert_eq!(table.unmap(range, &mut gather).err(), obstacle);
    if obstacle.is_none() {
        assert!(gather.range().unwrap().covers(range));
        (first..=last).for_each(|number| {
            oracle.remove(&number);
        });
    }
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
}

fn compare<F: Subject>(arena: Arena, table: &Table<F>, oracle: &Oracle) {
    assert_eq!(table.frames(), arena.in_use());
    // No reserved bit is set anywhere.
    hardware_words(arena, table);
    let page = page(table.format());
    let root = table.root_phys().as_u64();
    let bytes: u64 = leaves(table).iter().map(|leaf| leaf.bus.len_bytes()).sum();
    assert_eq!(bytes / page, oracle.len() as u64);
    for (number, (y, permission, _)) in oracle {
        let walked = hardware_walk(table.format(), root, number * page, &|at| arena.word(at));
        assert_eq!(walked, Some((*y, *permission)));
    }
}

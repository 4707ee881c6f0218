//! Failing allocations.

use dmamap::pagetable::{Format, MapError, PageTable};

use crate::subject::*;

/// A run that needs many tables: it crosses as many boundaries as the levels have.
fn run<F: Format>(table: &Table<F>) -> (u64, u64) {
    let (page, leaf) = (page(table.format()), size(table.format(), 2));
    if aperture_bytes(table) / 4 < leaf {
        (page, 2 * page)
    } else {
        let middle = table.aperture_last().as_u64() / 2 + 1;
        (middle - page, leaf + 2 * page)
    }
}

pub(crate) fn each_failing_allocation_leaves_the_table_as_it_was<F: Subject>(format: F) {
    let page = page(&format);
    let arena = arena(&format);
    for failing in 0..2 {
        arena.fail_from(Some(failing));
        assert!(PageTable::new(arena, format).is_err());
        assert_eq!(arena.in_use(), 0);
    }
    arena.fail_from(None);
    let mut table = PageTable::new(arena, format).unwrap();
    let birth = table.frames();
    let (z, len_bytes) = run(&table);
    // Part of the way is there already, so that new tables hang from old ones.
    map(&mut table, z - page, 0, page).unwrap();
    let (before, frames) = (leaves(&table), table.frames());
    let mut words = Vec::new();
    let root = table.root_phys().as_u64();
    let word = |at| arena.word(at);
    hardware_tables(
        &format,
        root,
        format.geometry().levels(),
        &word,
        &mut |level, at| {
            words.extend(
                (0..entries(&format, level))
                    .map(|index| (at + index * 8, arena.word(at + index * 8))),
            );
        },
    );
    let needed = (0..).find(|&failing| {
        arena.fail_from(Some(failing));
        match map(&mut table, z, 0, len_bytes) {
            Ok(()) => true,
            Err(MapError::OutOfFrames(_)) => {
                assert_eq!((table.frames(), arena.in_use()), (frames, frames));
                assert_eq!(leaves(&table), before);
                words
                    .iter()
                    .for_each(|(at, word)| assert_eq!(arena.word(*at), *word));
                false
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(
        needed.map(|needed| needed * table_frames(&format)),
        Some(table.frames() - frames)
    );
    arena.fail_from(None);
    unmap(arena, &mut table, z, len_bytes);
    unmap(arena, &mut table, z - page, page);
    reclaim(arena, &mut table);
    assert_eq!(table.frames(), birth);
    finish(arena, table);
}

pub(crate) fn a_map_that_fails_was_never_visible<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    let (z, len_bytes) = run(&table);
    // The last page is taken: whatever comes before it must not have been written even for a moment.
    map(&mut table, z + len_bytes - page, 0, page).unwrap();
    arena.watch(|_, _| panic!("an entry was written"));
    let allocations = arena.allocations();
    assert!(matches!(
        map(&mut table, z, 0, len_bytes),
        Err(MapError::AlreadyMapped { .. })
    ));
    assert_eq!(arena.allocations(), allocations);
    finish(arena, table);
}

//! Frames: how many tables there are, which are kept, and when they may go.

use dmamap::addr::BusAddr;
use dmamap::pagetable::{Entry, Gather, KEPT_TABLES, Permission, TableChange};

use crate::subject::*;

pub(crate) fn frames_return_to_birth_after_reclaim<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    let birth = table.frames();
    assert_eq!(birth, arena.in_use());
    let far = aperture_bytes(&table) / 16 / page * page;
    for n in 0..16 {
        map(&mut table, n * far, 0, 3 * page).unwrap();
    }
    assert_eq!(table.frames(), arena.in_use());
    for n in (0..16).rev() {
        unmap(arena, &mut table, n * far, 3 * page);
    }
    reclaim(arena, &mut table);
    assert_eq!((table.frames(), arena.in_use()), (birth, birth));
    finish(arena, table);
}

pub(crate) fn a_loop_of_map_and_unmap_neither_allocates_nor_unlinks<F: Subject>(format: F) {
    let page = page(&format);
    let leaf = size(&format, 2);
    let levels = format.geometry().levels();
    let (arena, mut table) = table(format);
    // Across a boundary between tables, where there is one.
    let z = if levels > 1 { leaf - page } else { page };
    let mut once = |expected| {
        map(&mut table, z, 0, 2 * page).unwrap();
        let mut gather = Gather::new(arena);
        table.unmap(bus(z, 2 * page), &mut gather).unwrap();
        assert_eq!(gather.range(), Some(bus(z, 2 * page)));
        assert_eq!(gather.tables(), expected);
    };
    once(TableChange::Kept);
    let allocations = arena.allocations();
    (0..100).for_each(|_| once(TableChange::Kept));
    assert_eq!(arena.allocations(), allocations);
    finish(arena, table);
}

pub(crate) fn kept_tables_are_bounded<F: Subject>(format: F) {
    let page = page(&format);
    let leaf = size(&format, 2);
    let levels = format.geometry().levels();
    let (arena, mut table) = table(format);
    if levels < 3 {
        return finish(arena, table);
    }
    let birth = table.frames();
    for n in 0..100 {
        map(&mut table, n * leaf, 0, page).unwrap();
    }
    for n in 0..100 {
        let mut gather = Gather::new(arena);
        table.unmap(bus(n * leaf, page), &mut gather).unwrap();
        let expected = if n < KEPT_TABLES as u64 {
            TableChange::Kept
        } else {
            TableChange::Unlinked
        };
        assert_eq!(gather.tables(), expected);
        if let Some(unlinked) = n.checked_sub(KEPT_TABLES as u64) {
            assert_eq!(
                gather.range(),
                Some(bus(unlinked * leaf, KEPT_TABLES as u64 * leaf + page))
            );
            assert_eq!(gather.frames(), table_frames(&format));
        }
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
    // Each table on the way and its shadow, and those kept.
    let (way, frames) = (levels as usize - 2, table_frames(&format));
    assert_eq!(table.frames(), birth + (2 * way + KEPT_TABLES) * frames);
    let mut gather = Gather::new(arena);
    table.reclaim(&mut gather);
    assert_eq!(gather.frames(), (KEPT_TABLES + way) * frames);
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
    assert_eq!(table.frames(), birth);
    finish(arena, table);
}

pub(crate) fn an_empty_table_in_the_way_is_mapped_with_smaller_leaves<F: Subject>(format: F) {
    let page = page(&format);
    let leaf = size(&format, 2);
    let levels = format.geometry().levels();
    let (arena, mut table) = table(format);
    if !leaf_levels(&format).contains(&2) || levels < 3 {
        return finish(arena, table);
    }
    map(&mut table, 2 * leaf, 0, page).unwrap();
    unmap(arena, &mut table, 2 * leaf, page);
    map(&mut table, leaf, leaf, 3 * leaf).unwrap();
    let small = run_bytes(&format, 1).unwrap_or(page);
    assert_eq!(leaves(&table).len() as u64, 1 + leaf / small + 1);
    unmap(arena, &mut table, leaf, 3 * leaf);
    reclaim(arena, &mut table);
    map(&mut table, leaf, leaf, 3 * leaf).unwrap();
    assert_eq!(leaves(&table).len(), 3);
    finish(arena, table);
}

pub(crate) fn unlinked_tables_are_empty_until_released<F: Subject>(format: F) {
    let page = page(&format);
    let leaf = size(&format, 2);
    let levels = format.geometry().levels();
    let (arena, mut table) = table(format);
    let step = leaf;
    let count = aperture_bytes(&table).min(62 * leaf) / step;
    // At the top, so that the first two words of no table but the root are used.
    let base = table.aperture_last().as_u64() - (count * step).wrapping_sub(1) + 2 * page;
    for n in 0..count {
        map(&mut table, base + n * step, 0, page).unwrap();
    }
    let mut tables: Vec<_> = Vec::new();
    let root = table.root_phys().as_u64();
    let word = |at| arena.word(at);
    hardware_tables(&format, root, levels, &word, &mut |level, at| {
        tables.push((level, at));
        for word in (0..entries(&format, level)).map(|index| arena.word(at + index * 8)) {
            assert!(
                word == 0 || format.decode(level, word) != Entry::Empty,
                "a table of new frames"
            );
        }
    });
    let mut gather = Gather::new(arena);
    for n in 0..count {
        table
            .unmap(bus(base + n * step, page), &mut gather)
            .unwrap();
    }
    table.reclaim(&mut gather);
    assert_eq!(gather.frames(), (tables.len() - 1) * table_frames(&format));
    // A unit that still holds a pointer to any of the tables finds nothing there.
    for (level, at) in tables {
        for index in 0..entries(&format, level) {
            assert_eq!(
                format.decode(level, arena.word(at + index * 8)),
                Entry::Empty
            );
        }
    }
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
    finish(arena, table);
}

pub(crate) fn nothing_is_freed_that_a_unit_may_still_walk<F: Subject>(format: F) {
    let page = page(&format);
    let levels = format.geometry().levels();
    let (arena, mut table) = table(format);
    let birth = table.frames();
    map(&mut table, page, 0, page).unwrap();
    let shadows_below_root = levels.saturating_sub(2) as usize * table_frames(&format);
    let before = arena.in_use();
    let mut gather = Gather::new(arena);
    table.unmap(bus(page, page), &mut gather).unwrap();
    table.reclaim(&mut gather);
    let unlinked = gather.frames();
    assert_eq!(
        arena.in_use(),
        before - shadows_below_root,
        "no hardware sees shadows"
    );
    // The invalidation was never confirmed: the tables stay lent for ever.
    assert_eq!(gather.abandon(), unlinked);
    assert_eq!(arena.in_use(), before - shadows_below_root);
    map(&mut table, page, 0, page).unwrap();
    let mut gather = Gather::new(arena);
    table.unmap(bus(page, page), &mut gather).unwrap();
    table.reclaim(&mut gather);
    drop(gather);
    assert_eq!(
        arena.in_use(),
        table.frames() + 2 * unlinked,
        "dropping is abandoning"
    );
    let held = arena.in_use();
    table
        .map(BusAddr::new(0), phys(0, page), Permission::Read)
        .unwrap();
    let held = held + (table.frames() - birth);
    drop(table);
    assert_eq!(arena.in_use(), held, "a dropped table may still be walked");
}

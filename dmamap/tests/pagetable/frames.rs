//! Frames: how many tables there are, which are kept, and when they may go.

use dmamap::addr::BusAddr;
use dmamap::pagetable::{Entry, Format, Gather, KEPT_TABLES, Permission, TableChange};

use crate::subject::*;

pub(crate) fn frames_return_to_birth_after_reclaim<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    let birth = table.frames();
    assert_eq!(birth, arena.in_use());
    let far = aperture_bytes(&table) / 16 / PAGE * PAGE;
    for n in 0..16 {
        map(&mut table, n * far, 0, 3 * PAGE).unwrap();
    }
    assert_eq!(table.frames(), arena.in_use());
    for n in (0..16).rev() {
        unmap(arena, &mut table, n * far, 3 * PAGE);
    }
    reclaim(arena, &mut table);
    assert_eq!((table.frames(), arena.in_use()), (birth, birth));
    finish(arena, table);
}

pub(crate) fn a_loop_of_map_and_unmap_neither_allocates_nor_unlinks<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    // Across a boundary between tables, where there is one.
    let z = if format.levels() > 1 {
        2 * MIB - PAGE
    } else {
        PAGE
    };
    let mut once = |expected| {
        map(&mut table, z, 0, 2 * PAGE).unwrap();
        let mut gather = Gather::new(arena);
        table.unmap(bus(z, 2 * PAGE), &mut gather).unwrap();
        assert_eq!(gather.range(), Some(bus(z, 2 * PAGE)));
        assert_eq!(
            (gather.tables(), gather.smallest_leaf_log2()),
            (expected, Some(12))
        );
    };
    once(TableChange::Kept);
    let allocations = arena.allocations();
    (0..100).for_each(|_| once(TableChange::Kept));
    assert_eq!(arena.allocations(), allocations);
    finish(arena, table);
}

pub(crate) fn kept_tables_are_bounded<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    if format.levels() < 3 {
        return finish(arena, table);
    }
    let birth = table.frames();
    for n in 0..100 {
        map(&mut table, n * 2 * MIB, 0, PAGE).unwrap();
    }
    for n in 0..100 {
        let mut gather = Gather::new(arena);
        table.unmap(bus(n * 2 * MIB, PAGE), &mut gather).unwrap();
        let expected = if n < KEPT_TABLES as u64 {
            TableChange::Kept
        } else {
            TableChange::Unlinked
        };
        assert_eq!(gather.tables(), expected);
        if let Some(unlinked) = n.checked_sub(KEPT_TABLES as u64) {
            assert_eq!(
                gather.range(),
                Some(bus(unlinked * 2 * MIB, KEPT_TABLES as u64 * 2 * MIB + PAGE))
            );
            assert_eq!(gather.frames(), 1);
        }
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
    // Two frames of each table on the way, and those kept.
    let way = 2 * (format.levels() as usize - 2);
    assert_eq!(table.frames(), birth + way + KEPT_TABLES);
    let mut gather = Gather::new(arena);
    table.reclaim(&mut gather);
    assert_eq!(gather.smallest_leaf_log2(), None);
    assert_eq!(gather.frames(), KEPT_TABLES + way / 2);
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
    assert_eq!(table.frames(), birth);
    finish(arena, table);
}

pub(crate) fn an_empty_table_in_the_way_is_mapped_with_smaller_leaves<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    if !format.leaf_sizes().at_level(2) || format.levels() < 3 {
        return finish(arena, table);
    }
    map(&mut table, 4 * MIB, 0, PAGE).unwrap();
    unmap(arena, &mut table, 4 * MIB, PAGE);
    map(&mut table, 2 * MIB, 2 * MIB, 6 * MIB).unwrap();
    assert_eq!(leaves(&table).len(), 1 + 512 + 1);
    unmap(arena, &mut table, 2 * MIB, 6 * MIB);
    reclaim(arena, &mut table);
    map(&mut table, 2 * MIB, 2 * MIB, 6 * MIB).unwrap();
    assert_eq!(leaves(&table).len(), 3);
    finish(arena, table);
}

pub(crate) fn unlinked_tables_are_empty_until_released<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    let step = 2 * MIB;
    let count = aperture_bytes(&table).min(64 * MIB) / step;
    // At the top, so that no table's first word is used.
    let base = table.aperture_last().as_u64() - (count * step - 1) + PAGE;
    for n in 0..count {
        map(&mut table, base + n * step, 0, PAGE).unwrap();
    }
    let mut tables: Vec<_> = Vec::new();
    let root = table.root_phys().as_u64();
    let word = |at| arena.word(at);
    hardware_tables(&format, root, format.levels(), &word, &mut |level, at| {
        tables.push((level, at));
        for word in (0..512).map(|index| arena.word(at + index * 8)) {
            assert!(
                word == 0 || format.decode(level, word) != Entry::Empty,
                "a table of new frames"
            );
        }
    });
    let mut gather = Gather::new(arena);
    for n in 0..count {
        table
            .unmap(bus(base + n * step, PAGE), &mut gather)
            .unwrap();
    }
    table.reclaim(&mut gather);
    assert_eq!(gather.frames(), tables.len() - 1);
    // A unit that still holds a pointer to any of the tables finds nothing there.
    for (level, at) in tables {
        for index in 0..512 {
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

pub(crate) fn nothing_is_freed_that_a_unit_may_still_walk<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    map(&mut table, PAGE, 0, PAGE).unwrap();
    let shadows_below_root = format.levels().saturating_sub(2) as usize;
    let before = arena.in_use();
    let mut gather = Gather::new(arena);
    table.unmap(bus(PAGE, PAGE), &mut gather).unwrap();
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
    map(&mut table, PAGE, 0, PAGE).unwrap();
    let mut gather = Gather::new(arena);
    table.unmap(bus(PAGE, PAGE), &mut gather).unwrap();
    table.reclaim(&mut gather);
    drop(gather);
    assert_eq!(
        arena.in_use(),
        table.frames() + 2 * unlinked,
        "dropping is abandoning"
    );
    let held = arena.in_use();
    table
        .map(BusAddr::new(0), phys(0, PAGE), Permission::Read)
        .unwrap();
    let held = held + (table.frames() - 2);
    drop(table);
    assert_eq!(arena.in_use(), held, "a dropped table may still be walked");
}

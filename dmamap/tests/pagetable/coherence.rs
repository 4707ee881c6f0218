//! Units whose walks do not snoop the CPU's caches.

use dmamap::pagetable::{Format, PageTable, WalkCoherence};

use crate::subject::*;
use crate::support::{Arena, LINE_BYTES};

pub(crate) fn a_unit_that_does_not_snoop_never_meets_a_stale_word<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    if format.coherence() == WalkCoherence::Snooped {
        map(&mut table, PAGE, 0, PAGE).unwrap();
        assert_eq!(
            arena.take_cleaned(),
            [],
            "a unit that snoops needs no line cleaned"
        );
        return finish(arena, table);
    }
    let root = table.root_phys().as_u64();
    // Whatever line reaches memory, all that the root leads to in memory is well formed.
    arena.watch(move |memory| {
        hardware_tables(
            &format,
            root,
            format.levels(),
            &|at| memory.word(at),
            &mut |_, _| {},
        );
    });
    let far = aperture_bytes(&table) / 8 / PAGE * PAGE;
    let agree = |table: &Table<F>| {
        for n in 0..8 {
            for page in 0..3 {
                let z = n * far + page * PAGE;
                let seen = arena
                    .with_memory(|memory| hardware_walk(&format, root, z, &|at| memory.word(at)));
                let known = table.lookup(dmamap::addr::BusAddr::new(z));
                assert_eq!(
                    seen,
                    known.map(|target| (target.phys.as_u64(), target.permission))
                );
            }
        }
    };
    for n in 0..8 {
        map(&mut table, n * far + PAGE, n * PAGE, 2 * PAGE).unwrap();
        agree(&table);
    }
    for n in 0..8 {
        unmap(arena, &mut table, n * far + PAGE, PAGE);
        agree(&table);
        unmap(arena, &mut table, n * far + 2 * PAGE, PAGE);
        agree(&table);
    }
    reclaim(arena, &mut table);
    agree(&table);
    arena.watch(|_| {});
    finish(arena, table);
}

pub(crate) fn exactly_the_modified_lines_are_cleaned<F: Format>(format: F) {
    if format.coherence() == WalkCoherence::Snooped {
        return;
    }
    let arena = Arena::new(64);
    let mut table = PageTable::new(arena, format).unwrap();
    let lines_of_page = 4096 / LINE_BYTES;
    assert_eq!(
        arena.take_cleaned().len(),
        lines_of_page,
        "the root, before a unit hears of it"
    );
    map(&mut table, 0, 0, PAGE).unwrap();
    // Each new table whole, the line of its link, and the line of the leaf.
    let new_tables = format.levels() as usize - 1;
    assert_eq!(
        arena.take_cleaned().len(),
        new_tables * (lines_of_page + 1) + 1
    );

    map(&mut table, PAGE, 0, PAGE).unwrap();
    assert_eq!(arena.take_cleaned().len(), 1);
    // Entries 7 to 16 lie in three lines.
    map(&mut table, 7 * PAGE, 0, 10 * PAGE).unwrap();
    let mapped = arena.take_cleaned();
    assert_eq!(mapped.len(), 3);
    unmap(arena, &mut table, 7 * PAGE, 10 * PAGE);
    assert_eq!(arena.take_cleaned(), mapped);
    unmap(arena, &mut table, 0, 2 * PAGE);
    assert_eq!(arena.take_cleaned(), [mapped[0]]);
    reclaim(arena, &mut table);
    assert_eq!(
        arena.take_cleaned().len(),
        new_tables,
        "a line for each link that went"
    );
    finish(arena, table);
}

//! Units whose walks do not snoop the CPU's caches.

use std::collections::BTreeMap;

use dmamap::addr::BusAddr;
use dmamap::pagetable::{Entry, PageTable, WalkCoherence};

use crate::subject::*;
use rig::{Arena, LINE_BYTES, Line, Memory};

/// A unit that reads memory only: it goes through all that the root leads to whenever that changes.
struct Onlooker<F> {
    format: F,
    root: u64,
    /// The level of each table, by the frames' addresses.
    tables: BTreeMap<u64, u32>,
}

impl<F: Subject> Onlooker<F> {
    fn new(format: F, root: u64) -> Self {
        let tables = BTreeMap::new();
        Self {
            format,
            root,
            tables,
        }
    }

    /// Panics when what the root leads to is not well formed.
    fn look(&mut self, memory: &Memory) {
        self.tables.clear();
        let (levels, word) = (self.format.geometry().levels(), |at| memory.word(at));
        let tables = &mut self.tables;
        hardware_tables(&self.format, self.root, levels, &word, &mut |level, at| {
            tables.insert(at, level);
        });
    }

    /// The level of the table that a line lies in, if it lies in one.
    fn level_of(&self, line: Line) -> Option<u32> {
        let (table, level) = self.tables.range(..=line.phys).next_back()?;
        let bytes = (entries(&self.format, *level) * 8).max(4 * KIB);
        (line.phys < table + bytes).then_some(*level)
    }

    fn line_arrived(&mut self, memory: &Memory, line: Line) {
        let Some(level) = self.level_of(line) else {
            return;
        };
        for (at, before) in (line.phys..).step_by(8).zip(line.before) {
            let [before, after] =
                [before, memory.word(at)].map(|word| self.format.decode(level, word));
            assert_ne!(after, Entry::Reserved, "level {level} at {at:#x}");
            assert!(
                before == after || before == Entry::Empty || after == Entry::Empty,
                "{before:?} became {after:?} at {at:#x} without being empty in between"
            );
        }
        self.look(memory);
    }
}

pub(crate) fn a_unit_that_does_not_snoop_never_meets_a_stale_word<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    if format.coherence() == WalkCoherence::Snooped {
        map(&mut table, page, 0, page).unwrap();
        assert_eq!(
            arena.take_cleaned(),
            [0_u64; 0],
            "a unit that snoops needs no line cleaned"
        );
        return finish(arena, table);
    }
    let root = table.root_phys().as_u64();
    let mut onlooker = Onlooker::new(format, root);
    arena.with_memory(|memory| onlooker.look(memory));
    arena.watch(move |memory, line| onlooker.line_arrived(memory, line));
    let far = aperture_bytes(&table) / 8 / page * page;
    let agree = |table: &Table<F>| {
        for n in 0..8 {
            for number in 0..3 {
                let z = n * far + number * page;
                let seen = arena
                    .with_memory(|memory| hardware_walk(&format, root, z, &|at| memory.word(at)));
                let known = table.lookup(BusAddr::new(z));
                assert_eq!(
                    seen,
                    known.map(|target| (target.phys.as_u64(), target.permission))
                );
            }
        }
    };
    for n in 0..8 {
        map(&mut table, n * far + page, n * page, 2 * page).unwrap();
        agree(&table);
    }
    for n in 0..8 {
        unmap(arena, &mut table, n * far + page, page);
        agree(&table);
        unmap(arena, &mut table, n * far + 2 * page, page);
        agree(&table);
    }
    reclaim(arena, &mut table);
    agree(&table);
    arena.watch(|_, _| {});
    finish(arena, table);
}

pub(crate) fn exactly_the_modified_lines_are_cleaned<F: Subject>(format: F) {
    if format.coherence() == WalkCoherence::Snooped {
        return;
    }
    let page = page(&format);
    let levels = format.geometry().levels();
    let arena = Arena::new(64 * table_frames(&format));
    let mut table = PageTable::new(arena, format).unwrap();
    let root_bytes = (entries(&format, levels) * 8).max(4 * KIB);
    assert_eq!(
        arena.take_cleaned().len(),
        root_bytes as usize / LINE_BYTES,
        "the root, before a unit hears of it"
    );
    map(&mut table, 0, 0, page).unwrap();
    // Each new table whole, the line of its link, and the line of the leaf.
    let new_tables = levels as usize - 1;
    assert_eq!(
        arena.take_cleaned().len(),
        new_tables * (page as usize / LINE_BYTES + 1) + 1
    );

    map(&mut table, page, 0, page).unwrap();
    assert_eq!(arena.take_cleaned().len(), 1);
    // Entries 7 to 16 lie in three lines.
    map(&mut table, 7 * page, 0, 10 * page).unwrap();
    let mapped = arena.take_cleaned();
    assert_eq!(mapped.len(), 3);
    unmap(arena, &mut table, 7 * page, 10 * page);
    assert_eq!(arena.take_cleaned(), mapped);
    unmap(arena, &mut table, 0, 2 * page);
    assert_eq!(arena.take_cleaned(), [mapped[0]]);
    reclaim(arena, &mut table);
    assert_eq!(
        arena.take_cleaned().len(),
        new_tables,
        "a line for each link that went"
    );
    finish(arena, table);
}

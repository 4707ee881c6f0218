//! Contiguous runs: leaves that tell the unit that it may remember several as one.

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::pagetable::{Entry, Gather, Leaf, Permission, Span, UnmapError};

use crate::subject::*;

/// The spans of the entries of a table, as hardware finds them: how many are single, how many in runs.
fn spans<F: Subject>(arena: rig::Arena, table: &Table<F>, level: u32) -> (u64, u64) {
    let (mut single, mut in_runs) = (0, 0);
    let format = *table.format();
    let (root, levels) = (table.root_phys().as_u64(), format.geometry().levels());
    let word = |at| arena.word(at);
    hardware_tables(&format, root, levels, &word, &mut |found, at| {
        for index in 0..entries(&format, found) {
            match format.decode(found, arena.word(at + index * 8)) {
                Entry::Leaf { span, .. } if found == level => match span {
                    Span::Entry => single += 1,
                    Span::Run => in_runs += 1,
                },
                _ => {}
            }
        }
    });
    (single, in_runs)
}

pub(crate) fn aligned_runs_carry_the_hint<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    for level in leaf_levels(&format) {
        let size = size(&format, level);
        let run = run_bytes(&format, level).unwrap_or(16 * size);
        if aperture_bytes(&table) < 4 * run {
            continue;
        }
        // From one leaf before a run to one after the next: two whole runs, one leaf at each end.
        map(&mut table, run - size, 9 * run - size, 2 * run + 2 * size).unwrap();
        let found = spans(arena, &table, level);
        if run_bytes(&format, level).is_some() {
            assert_eq!(found, (2, 2 * run / size), "level {level}");
            let leaf = |start, len_bytes| Leaf {
                bus: bus(start, len_bytes),
                phys: PhysAddr::new(8 * run + start),
                permission: Permission::ReadWrite,
            };
            let expected = [
                leaf(run - size, size),
                leaf(run, run),
                leaf(2 * run, run),
                leaf(3 * run, size),
            ];
            assert_eq!(leaves(&table), expected);
        } else {
            assert_eq!(found, (2 * run / size + 2, 0), "level {level}");
        }
        for (z, expected) in [(run - size, size), (run, run), (3 * run - 1, run)] {
            let target = table.lookup(BusAddr::new(z)).unwrap();
            let expected = match run_bytes(&format, level) {
                Some(_) => expected,
                None => size,
            };
            assert_eq!(target.phys.as_u64(), 8 * run + z);
            assert_eq!(target.leaf_size_log2, expected.ilog2());
        }
        unmap(arena, &mut table, run - size, 2 * run + 2 * size);

        // Neither memory that is not aligned like the bus addresses, nor less than a run.
        map(&mut table, run, 8 * run + size, run).unwrap();
        map(&mut table, 2 * run, 8 * run, run - size).unwrap();
        assert_eq!(spans(arena, &table, level), (2 * run / size - 1, 0));
        unmap(arena, &mut table, run, 2 * run - size);
        reclaim(arena, &mut table);
    }
    finish(arena, table);
}

pub(crate) fn part_of_a_run_is_not_unmapped<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    for level in leaf_levels(&format) {
        let size = size(&format, level);
        let Some(run) = run_bytes(&format, level) else {
            continue;
        };
        if aperture_bytes(&table) < 4 * run {
            continue;
        }
        map(&mut table, run - size, 5 * run - size, 2 * run + size).unwrap();
        let (before, words) = (leaves(&table), hardware_words(arena, &table));
        let mut gather = Gather::new(arena);
        for (z, len_bytes, whole) in [
            (run, size, run),
            (run + size, run - size, run),
            (2 * run - size, size, run),
            (run - size, 2 * size, run),
            (run, 2 * run - size, 2 * run),
            (run - size, 2 * run, 2 * run),
        ] {
            let error = UnmapError::WouldSplit {
                leaf: bus(whole, run),
            };
            assert_eq!(table.unmap(bus(z, len_bytes), &mut gather), Err(error));
        }
        assert_eq!((gather.range(), leaves(&table)), (None, before));
        assert_eq!(hardware_words(arena, &table), words);
        table.unmap(bus(run, run), &mut gather).unwrap();
        assert_eq!(gather.range(), Some(bus(run, run)));
        assert_eq!(leaves(&table).len(), 2);
        unmap(arena, &mut table, run - size, size);
        unmap(arena, &mut table, 2 * run, run);
        reclaim(arena, &mut table);
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
    finish(arena, table);
}

pub(crate) fn half_a_run_is_reported_as_corrupt<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    let page = page(&format);
    if let Some(run) = run_bytes(&format, 1) {
        map(&mut table, run, 0, run).unwrap();
        let words = hardware_words(arena, &table);
        // The last entry of the run, as hardware finds it.
        let (at, word) = words
            .into_iter()
            .rfind(|(_, word)| matches!(format.decode(1, *word), Entry::Leaf { .. }))
            .unwrap();
        arena.set_word(at, 0);
        let mut gather = Gather::new(arena);
        let error = UnmapError::Corrupt {
            bus: BusAddr::new(run),
            level: 1,
            word: 0,
        };
        assert_eq!(table.unmap(bus(run, run), &mut gather), Err(error));
        assert_eq!(gather.range(), None);
        arena.set_word(at, word);
        unmap(arena, &mut table, run, run);
        map(&mut table, run, page, page).unwrap();
    }
    finish(arena, table);
}

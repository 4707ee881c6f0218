//! What is refused, and that nothing changed then.

use dmamap::addr::{BusAddr, PhysAddr, PhysRange};
use dmamap::pagetable::{Gather, MapError, Permission, PhysList, Replay, UnmapError};

use crate::subject::*;

pub(crate) fn what_is_mapped_is_not_mapped_again<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    map(&mut table, 16 * page, 8 * page, page).unwrap();
    let (before, frames) = (leaves(&table), table.frames());
    let error = MapError::AlreadyMapped {
        bus: BusAddr::new(16 * page),
        phys: PhysAddr::new(8 * page),
        permission: Permission::ReadWrite,
    };
    for (z, len_bytes) in [(16 * page, page), (0, 64 * page), (15 * page, 2 * page)] {
        assert_eq!(map(&mut table, z, 0, len_bytes), Err(error));
        assert_eq!((leaves(&table), table.frames()), (before.clone(), frames));
    }
    unmap(arena, &mut table, 16 * page, page);
    for level in leaf_levels(&format) {
        let size = size(&format, level);
        if level > 1 && aperture_bytes(&table) >= 4 * size {
            map(&mut table, 2 * size, 2 * size, size).unwrap();
            // A page inside the leaf, a leaf in its place, and a run that reaches it from below.
            for (z, len_bytes) in [(2 * size + page, page), (2 * size, size), (size, 2 * size)] {
                assert!(matches!(
                    map(&mut table, z, 0, len_bytes),
                    Err(MapError::AlreadyMapped { .. })
                ));
                assert_eq!(leaves(&table).len(), 1);
            }
            unmap(arena, &mut table, 2 * size, size);
            reclaim(arena, &mut table);
        }
    }
    finish(arena, table);
}

pub(crate) fn what_cannot_be_mapped_is_refused<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    let frames = table.frames();
    let last = table.aperture_last();
    let top = last.as_u64() - (page - 1);
    for (z, y, len_bytes) in [
        (1, 0, page),
        (0, page / 2, page),
        (0, 0, 100),
        (page, page, page + 1),
    ] {
        let error = MapError::Misaligned {
            bus: BusAddr::new(z),
            phys: phys(y, len_bytes),
            granule_bytes: page,
        };
        assert_eq!(map(&mut table, z, y, len_bytes), Err(error));
    }
    let error = MapError::OutsideAperture {
        bus: BusAddr::new(top),
        len_bytes: 2 * page,
        last,
    };
    assert_eq!(map(&mut table, top, 0, 2 * page), Err(error));
    let mut list = Replay::new([phys(0, page), phys(5 * page, page)].into_iter());
    assert_eq!(
        table.map_list(BusAddr::new(top), &mut list, Permission::Read),
        Err(error)
    );
    if let Some(beyond) = last.checked_add(1) {
        assert!(matches!(
            map(&mut table, beyond.as_u64(), 0, page),
            Err(MapError::OutsideAperture { .. })
        ));
    }
    let wide = phys(format.last_phys().as_u64() + 1 - page, 2 * page);
    let error = MapError::PhysTooWide {
        phys: wide,
        last: format.last_phys(),
    };
    assert_eq!(
        table.map(BusAddr::new(0), wide, Permission::Read),
        Err(error)
    );
    assert_eq!(map(&mut table, 0, wide.start().as_u64(), page), Ok(()));
    unmap(arena, &mut table, 0, page);
    reclaim(arena, &mut table);
    assert_eq!(map(&mut table, 0, 0, 0), Ok(()), "nothing is mapped easily");
    assert_eq!(table.frames(), frames);
    map(&mut table, 0, 0, page).unwrap();
    assert_eq!(
        map(&mut table, page, 0, 0),
        Ok(()),
        "nor where a table is near"
    );
    unmap(arena, &mut table, 0, page);
    reclaim(arena, &mut table);
    finish(arena, table);
}

pub(crate) fn an_unmap_with_a_hole_is_refused<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    map(&mut table, page, 0, 3 * page).unwrap();
    map(&mut table, 5 * page, 0, 2 * page).unwrap();
    let before = leaves(&table);
    let mut gather = Gather::new(arena);
    for (z, len_bytes, hole) in [(0, 2, 0), (1, 6, 4), (7, 1, 7), (6, 2, 7), (100, 5, 100)] {
        let error = UnmapError::NotMapped {
            bus: BusAddr::new(hole * page),
        };
        assert_eq!(
            table.unmap(bus(z * page, len_bytes * page), &mut gather),
            Err(error)
        );
    }
    for range in [bus(page, 100), bus(page + 1, page)] {
        let granule_bytes = page;
        let error = UnmapError::Misaligned {
            range,
            granule_bytes,
        };
        assert_eq!(table.unmap(range, &mut gather), Err(error));
    }
    if let Some(beyond) = table.aperture_last().checked_add(1) {
        let (range, last) = (bus(beyond.as_u64(), page), table.aperture_last());
        let error = UnmapError::OutsideAperture { range, last };
        assert_eq!(table.unmap(range, &mut gather), Err(error));
    }
    assert_eq!((gather.range(), gather.frames()), (None, 0));
    assert_eq!(leaves(&table), before);
    unmap(arena, &mut table, 2 * page, page);
    assert_eq!(leaves(&table).len(), 4);
    finish(arena, table);
}

pub(crate) fn an_unmap_inside_a_large_leaf_is_refused<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    for level in leaf_levels(&format).into_iter().filter(|level| *level > 1) {
        let size = size(&format, level);
        if aperture_bytes(&table) < 4 * size {
            continue;
        }
        map(&mut table, size, size, 2 * size).unwrap();
        let before = leaves(&table);
        let mut gather = Gather::new(arena);
        for (z, len_bytes, leaf) in [
            (size, page, size),
            (size + page, size - page, size),
            (size, 2 * size - page, 2 * size),
            (2 * size + size / 2, size / 2, 2 * size),
        ] {
            let error = UnmapError::WouldSplit {
                leaf: bus(leaf, size),
            };
            assert_eq!(table.unmap(bus(z, len_bytes), &mut gather), Err(error));
        }
        assert_eq!((gather.range(), leaves(&table)), (None, before));
        table.unmap(bus(2 * size, size), &mut gather).unwrap();
        assert_eq!(gather.range(), Some(bus(2 * size, size)));
        unmap(arena, &mut table, size, size);
        drop(gather);
    }
    finish(arena, table);
}

pub(crate) fn corrupt_entries_are_reported<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    let root = table.root_phys().as_u64();
    let level = format.geometry().levels();
    let word = 0xa5a5_a5a5_a5a5_a5a5;
    arena.set_word(root, word);
    let bus_addr = BusAddr::new(page);
    let slot = if level == 1 { root + 8 } else { root };
    arena.set_word(slot, word);
    let expected = MapError::Corrupt {
        bus: bus_addr,
        level,
        word,
    };
    assert_eq!(map(&mut table, page, 0, page), Err(expected));
    let mut gather = Gather::new(arena);
    let expected = UnmapError::Corrupt {
        bus: bus_addr,
        level,
        word,
    };
    assert_eq!(table.unmap(bus(page, page), &mut gather), Err(expected));
    assert_eq!(table.lookup(bus_addr), None);
    arena.set_word(root, 0);
    arena.set_word(slot, 0);
    finish(arena, table);
}

/// Two pages when it is looked at, to see whether it is one piece and then all of it; more from then on.
struct Changing {
    pages: [u64; 3],
    page_bytes: u64,
    turns: usize,
    next: usize,
}

impl PhysList for Changing {
    fn restart(&mut self) {
        self.turns += 1;
        self.next = 0;
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let len = if self.turns < 3 { 2 } else { 3 };
        let page = self.pages[..len].get(self.next)?;
        self.next += 1;
        Some(phys(*page, self.page_bytes))
    }
}

/// What was not looked at is not written: the entries behind stay as they are.
pub(crate) fn a_list_that_changes_is_not_written_past_its_end<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    let page = size(&format, 1);
    let behind = BusAddr::new(4 * page);
    table
        .map(behind, phys(16 * page, page), Permission::Read)
        .unwrap();
    let mut list = Changing {
        pages: [5, 9, 13].map(|n| n * page),
        page_bytes: page,
        turns: 0,
        next: 0,
    };
    let mapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        table.map_list(BusAddr::new(2 * page), &mut list, Permission::ReadWrite)
    }));
    assert!(mapped.is_err(), "it did not yield the same again");
    let found = table.lookup(behind).map(|target| target.phys.as_u64());
    assert_eq!(found, Some(16 * page));
    finish(arena, table);
}

//! Requests near one another, which go without a walk, say and refuse what those do that walk.

use dmamap::addr::BusAddr;
use dmamap::pagetable::{
    Entry, Gather, Grant, MapError, MemoryType, Permission, Privilege, Replay, TableChange,
};

use crate::subject::*;
use rig::{Arena, Random};

/// A table in which something stays mapped at both ends of the first two tables of a level, and what is tried between.
struct Trial<F: Subject> {
    arena: Arena,
    table: Table<F>,
    page: u64,
    covers: u64,
}

impl<F: Subject> Trial<F> {
    fn new(format: F, level: u32) -> Self {
        let (arena, mut table) = table(format);
        let (page, covers) = (size(&format, level), size(&format, level + 1));
        for z in [0, covers - page, covers, 2 * covers - page] {
            map(&mut table, z, z, page).unwrap();
        }
        Self {
            arena,
            table,
            page,
            covers,
        }
    }

    /// Unlinks what is empty, and a table at least: all are forgotten then, and the next request walks.
    fn forget(&mut self) {
        let (small, far) = (page(self.table.format()), 3 * self.covers);
        map(&mut self.table, far, 0, small).unwrap();
        unmap(self.arena, &mut self.table, far, small);
        reclaim(self.arena, &mut self.table);
    }

    /// Has both tables near, with what there was in them.
    fn come_near(&mut self) {
        for z in [0, self.covers] {
            unmap(self.arena, &mut self.table, z, self.page);
            map(&mut self.table, z, z, self.page).unwrap();
        }
    }

    fn unmap(&mut self, z: u64, len_bytes: u64) -> Result<(), dmamap::pagetable::UnmapError> {
        let mut gather = Gather::new(self.arena);
        let unmapped = self.table.unmap(bus(z, len_bytes), &mut gather);
        let named = unmapped.is_ok().then(|| bus(z, len_bytes));
        // Tables that go as too many are empty are named as well.
        if gather.tables() == TableChange::Kept {
            assert_eq!(gather.range(), named);
        }
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
        unmapped
    }
}

impl<F: Subject> Trial<F> {
    /// The words of all leaves; links lead to other frames.
    fn leaf_words(&self) -> Vec<u64> {
        let (format, root) = (*self.table.format(), self.table.root_phys().as_u64());
        let (mut words, word) = (Vec::new(), |at| self.arena.word(at));
        let mut look = |level: u32, at: u64| {
            let all = (0..entries(&format, level)).map(|index| word(at + index * 8));
            words.extend(
                all.filter(|word| matches!(format.decode(level, *word), Entry::Leaf { .. })),
            );
        };
        hardware_tables(&format, root, format.geometry().levels(), &word, &mut look);
        words
    }

    /// Unmaps all but what stays.
    fn clear(&mut self) {
        let stays = [
            0,
            self.covers - self.page,
            self.covers,
            2 * self.covers - self.page,
        ];
        for leaf in leaves(&self.table) {
            if !stays.contains(&leaf.bus.start().as_u64()) {
                self.unmap(leaf.bus.start().as_u64(), leaf.bus.len_bytes())
                    .unwrap();
            }
        }
    }
}

/// Levels below the root that have leaves, and room for four of their tables.
fn levels<F: Subject>(format: &F) -> impl Iterator<Item = u32> {
    let format = *format;
    leaf_levels(&format).into_iter().filter(move |level| {
        let levels = format.geometry().levels();
        let room = levels.checked_sub(level + 1).map_or(0, |above| {
            if above > 0 {
                4
            } else {
                entries(&format, levels)
            }
        });
        *level <= 3 && room >= 4
    })
}

pub(crate) fn near_requests_say_what_walks_would<F: Subject>(format: F) {
    for level in levels(&format) {
        let random = Random::from_environment(6);
        let (page, covers) = (size(&format, level), size(&format, level + 1));
        let (mut near, mut walked) = (Trial::new(format, level), Trial::new(format, level));
        let many = covers / page;
        let run = run_bytes(&format, level).map_or(16, |run| run / page);
        let lens = [
            1,
            1,
            1,
            2,
            7,
            8,
            9,
            run - 1,
            run,
            run + 1,
            64,
            many - 2,
            many,
        ];
        let mut mapped = vec![(page, page)];
        for step in 0..150 {
            near.forget();
            near.come_near();
            walked.forget();
            // Runs begin at multiples of theirs, and are seldom met by chance.
            let align = random.pick(&[1, run]);
            let z = random.below(2 * many) / align * align * page;
            let len_bytes = random.pick(&lens) * page;
            // What is no page of the level, and no page at all; or reaches beyond what there is.
            let z = z + random.pick(&[0, 0, 0, 0, 0, 0, 0, 1, page / 2]);
            let len_bytes = len_bytes + random.pick(&[0, 0, 0, 0, 0, 0, 0, 1, page / 2]);
            if random.below(3) > 0 {
                let last = format.last_phys().as_u64();
                let last = last.saturating_sub(len_bytes - 1) / page * page;
                let y = random.pick(&[z, random.below(64) * page, last, last + page, z + page / 2]);
                let memory = phys(y, len_bytes);
                let grant = Grant {
                    permission: random.pick(&[
                        Permission::Read,
                        Permission::Write,
                        Permission::ReadWrite,
                    ]),
                    memory_type: random.pick(&[MemoryType::Normal, MemoryType::Registers]),
                    privilege: random.pick(&[Privilege::Any, Privilege::PrivilegedOnly]),
                };
                let map = |table: &mut Table<F>| -> Result<(), MapError> {
                    if grant == Grant::from(grant.permission) {
                        table.map(BusAddr::new(z), memory, grant.permission)
                    } else {
                        let mut list = Replay::new(core::iter::once(memory));
                        table.map_list_of(BusAddr::new(z), &mut list, grant)
                    }
                };
                let result = map(&mut near.table);
                assert_eq!(
                    result,
                    map(&mut walked.table),
                    "step {step} of level {level}"
                );
                if result.is_ok() {
                    mapped.push((z, len_bytes));
                }
            } else {
                // Anything at all, or all or a part of what was mapped, which may be part of a run.
                let (start, all) = random.pick(&mapped);
                let part = (page * random.pick(&[0, 1, run / 2])).min(all.saturating_sub(page));
                let (z, len_bytes) = random.pick(&[
                    (z, len_bytes),
                    (start, all),
                    (start, page),
                    (start + part, all - part),
                    (start + part, page),
                ]);
                let result = near.unmap(z, len_bytes);
                assert_eq!(
                    result,
                    walked.unmap(z, len_bytes),
                    "step {step} of level {level}"
                );
            }
            if step % 10 == 0 {
                assert_eq!(leaves(&near.table), leaves(&walked.table), "step {step}");
                let words = [&near, &walked].map(Trial::leaf_words);
                assert_eq!(words[0], words[1], "step {step} of level {level}");
                // There is room again.
                near.clear();
                walked.clear();
                mapped = vec![(page, page)];
            }
        }
        // Nothing was counted twice, nor forgotten.
        for Trial {
            arena, mut table, ..
        } in [near, walked]
        {
            for leaf in leaves(&table) {
                unmap(
                    arena,
                    &mut table,
                    leaf.bus.start().as_u64(),
                    leaf.bus.len_bytes(),
                );
            }
            reclaim(arena, &mut table);
            let (other, empty) = self::table(format);
            assert_eq!(table.frames(), empty.frames());
            finish(other, empty);
            finish(arena, table);
        }
    }
}

/// A table that is unlinked is not written to any more, wherever its frames are now.
pub(crate) fn an_unlinked_table_is_near_no_more<F: Subject>(format: F) {
    for level in levels(&format) {
        let (arena, mut table) = table(format);
        let page = size(&format, level);
        map(&mut table, 0, 0, page).unwrap();
        map(&mut table, page, page, page).unwrap();
        unmap(arena, &mut table, 0, 2 * page);
        let mut gather = Gather::new(arena);
        table.reclaim(&mut gather);
        // The unlinked table is still there, and this entry of it empty: whoever looked there would find room.
        let z = 3 * page;
        map(&mut table, z, page, page).unwrap();
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
        let root = table.root_phys().as_u64();
        let reached = hardware_walk(&format, root, z, &|at| arena.word(at));
        assert_eq!(reached, Some((page, Permission::ReadWrite)));
        unmap(arena, &mut table, z, page);
        reclaim(arena, &mut table);
        finish(arena, table);
    }
}

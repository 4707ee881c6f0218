//! What is mapped where, and with which leaves.

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::pagetable::{Entry, Format, Leaf, Permission, Replay, Span, Target};

use crate::subject::*;

const PERMISSIONS: [Permission; 3] = [Permission::Read, Permission::Write, Permission::ReadWrite];

pub(crate) fn entries_decode_as_they_were_encoded<F: Subject>(format: F) {
    for level in leaf_levels(&format) {
        let size = size(&format, level);
        for permission in PERMISSIONS {
            let last = format.last_phys().align_down(size.ilog2());
            for phys in [PhysAddr::new(0), PhysAddr::new(5 * size), last] {
                let word = format.leaf(level, phys, permission, Span::Entry);
                let leaf = Entry::Leaf {
                    phys,
                    permission: format.granted(permission),
                    span: Span::Entry,
                };
                assert_eq!(format.decode(level, word), leaf);
                let Some(run_bytes) = run_bytes(&format, level) else {
                    continue;
                };
                let word = format.leaf(level, phys, permission, Span::Run);
                let leaf = Entry::Leaf {
                    phys: phys.align_down(run_bytes.ilog2()),
                    permission: format.granted(permission),
                    span: Span::Run,
                };
                assert_eq!(format.decode(level, word), leaf);
            }
        }
    }
    for level in 2..=format.geometry().levels() {
        let page = page(&format);
        for phys in [
            PhysAddr::new(page),
            format.last_phys().align_down(page.ilog2()),
        ] {
            assert_eq!(
                format.decode(level, format.table(level, phys)),
                Entry::Table(phys)
            );
        }
    }
}

pub(crate) fn words_of_unlinked_tables_decode_as_empty<F: Subject>(format: F) {
    for level in 1..=format.geometry().levels() {
        for bit in 12..64 {
            assert_eq!(format.decode(level, 1 << bit), Entry::Empty);
        }
        assert_eq!(format.decode(level, 0), Entry::Empty);
        assert_eq!(format.decode(level, 0xffff_ffff_ffff_f000), Entry::Empty);
    }
}

pub(crate) fn words_with_a_reserved_bit_set_are_reserved<F: Subject>(format: F) {
    let check = |level, kind, word: u64| {
        let mask = format.must_be_zero(level, kind);
        assert_eq!(word & mask, 0, "{word:#x} of level {level}, {kind:?}");
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| mask & bit != 0) {
            let decoded = format.decode(level, word | bit);
            assert_eq!(
                decoded,
                Entry::Reserved,
                "bit {bit:#x} of {kind:?}, level {level}"
            );
        }
    };
    for level in leaf_levels(&format) {
        for permission in PERMISSIONS {
            let phys = PhysAddr::new(0);
            let word = format.leaf(level, phys, permission, Span::Entry);
            check(level, Kind::Leaf, word);
            if run_bytes(&format, level).is_some() {
                let word = format.leaf(level, phys, permission, Span::Run);
                check(level, Kind::RunLeaf, word);
            }
        }
    }
    for level in 2..=format.geometry().levels() {
        check(level, Kind::Table, format.table(level, PhysAddr::new(0)));
    }
}

pub(crate) fn each_byte_of_a_mapping_is_translated<F: Subject>(format: F) {
    let page = page(&format);
    for permission in PERMISSIONS {
        let (arena, mut table) = table(format);
        let granted = format.granted(permission);
        let (z, y) = (BusAddr::new(3 * page), phys(0x75 * page, 3 * page));
        table.map(z, y, permission).unwrap();
        for offset in [0, 1, page, 2 * page + 17, 3 * page - 1] {
            let target = Target {
                phys: PhysAddr::new(0x75 * page + offset),
                permission: granted,
                leaf_size_log2: page.ilog2(),
            };
            assert_eq!(table.lookup(z.checked_add(offset).unwrap()), Some(target));
            let root = table.root_phys().as_u64();
            let walked = hardware_walk(&format, root, 3 * page + offset, &|at| arena.word(at));
            assert_eq!(walked, Some((0x75 * page + offset, granted)));
        }
        assert_eq!(table.lookup(BusAddr::new(3 * page - 1)), None);
        assert_eq!(table.lookup(BusAddr::new(6 * page)), None);
        assert_eq!(table.lookup(BusAddr::new(u64::MAX)), None);
        unmap(arena, &mut table, 3 * page, 3 * page);
        assert_eq!(table.lookup(z), None);
        finish(arena, table);
    }
}

/// The words of pages side by side differ by the same amount from page to page, and all of one span only where they say where
/// memory is: the walker writes, and recognises, many at a time.
pub(crate) fn leaves_side_by_side_differ_alike<F: Subject>(format: F) {
    let geometry = format.geometry();
    for level in 1..=geometry.levels() {
        let size_log2 = geometry.size_log2(level);
        if level > 1 && !format.leaf_sizes().contains(size_log2) {
            continue;
        }
        let top = format.last_phys().align_down(size_log2);
        let places = [0, 1, 5, (top.as_u64() >> size_log2) / 3].map(|n| n << size_log2);
        for permission in [Permission::Read, Permission::Write, Permission::ReadWrite] {
            let leaf = |phys, span| format.leaf(level, PhysAddr::new(phys), permission, span);
            let words = |phys| {
                let leaf = leaf(phys, Span::Entry);
                let registers = format.for_registers(leaf);
                [leaf, registers, format.for_privileged(registers)]
            };
            let differences = places.map(|phys| {
                let (word, next) = (words(phys), words(phys + (1 << size_log2)));
                [0, 1, 2].map(|kind| next[kind].wrapping_sub(word[kind]))
            });
            assert_eq!(differences, [[differences[0][0]; 3]; 4], "level {level}");
            for span in [Span::Entry, Span::Run] {
                if span == Span::Run && format.run_log2(level) == 0 {
                    continue;
                }
                let address = leaf(top.as_u64(), span) ^ leaf(0, span);
                for phys in places {
                    let differs = leaf(phys, span) ^ leaf(0, span);
                    assert_eq!(differs & !address, 0, "level {level}, {span:?}");
                }
            }
        }
    }
}

/// More leaves than this take long and say no more.
const MANY: usize = 8200;

/// The leaves a mapping must have, or the first [`MANY`]: at each address the largest that fits.
pub(crate) fn best_leaves<F: Format>(format: &F, z: u64, y: u64, len_bytes: u64) -> Vec<Leaf> {
    let sizes: Vec<u64> = leaf_levels(format)
        .into_iter()
        .flat_map(|level| [Some(size(format, level)), run_bytes(format, level)])
        .flatten()
        .collect();
    assert!(sizes.is_sorted());
    let mut done = 0;
    let mut leaves = Vec::new();
    while done < len_bytes && leaves.len() < MANY {
        let aligned =
            |size: u64| (z + done).is_multiple_of(size) && (y + done).is_multiple_of(size);
        let fits = |size: &u64| aligned(*size) && len_bytes - done >= *size;
        let size = sizes.iter().rev().copied().find(fits).unwrap();
        leaves.push(Leaf {
            bus: bus(z + done, size),
            phys: PhysAddr::new(y + done),
            permission: Permission::ReadWrite,
        });
        done += size;
    }
    leaves
}

pub(crate) fn the_largest_leaf_is_used_at_every_alignment<F: Subject>(format: F) {
    let [page, large, huge] = [1, 2, 3].map(|level| size(&format, level));
    let run = run_bytes(&format, 1).unwrap_or(16 * page);
    let large_run = run_bytes(&format, 2).unwrap_or(16 * large);
    let alignments = [
        0,
        page,
        run,
        large - run,
        large - page,
        large,
        large + page,
        large_run,
        huge - large,
        huge,
    ];
    let lengths = [
        page,
        run,
        2 * run + page,
        large - page,
        large,
        large + page,
        2 * large,
        large_run,
        huge,
        huge + large + page,
    ];
    let (arena, mut table) = table(format);
    let birth = table.frames();
    for z in alignments {
        for y in [z, z + page, z + run, z + large, z + huge, 0, large] {
            for len_bytes in lengths {
                if z + len_bytes > aperture_bytes(&table)
                    || y + len_bytes > format.last_phys().as_u64()
                {
                    continue;
                }
                let expected = best_leaves(&format, z, y, len_bytes);
                if expected.len() >= MANY {
                    continue;
                }
                map(&mut table, z, y, len_bytes).unwrap();
                assert_eq!(
                    leaves(&table),
                    expected,
                    "{z:#x} to {y:#x}, {len_bytes:#x} bytes"
                );
                unmap(arena, &mut table, z, len_bytes);
                assert_eq!(leaves(&table), []);
                reclaim(arena, &mut table);
                assert_eq!(table.frames(), birth);
            }
        }
    }
    finish(arena, table);
}

pub(crate) fn scattered_memory_lies_side_by_side<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    let memory = [
        phys(9 * page, page),
        phys(5 * page, 2 * page),
        phys(16 * page, 0),
        phys(4 * page, page),
    ];
    let mut list = Replay::new(memory.into_iter());
    table
        .map_list(BusAddr::new(15 * page), &mut list, Permission::Read)
        .unwrap();
    let reached: Vec<u64> = leaves(&table)
        .iter()
        .map(|leaf| leaf.phys.as_u64() / page)
        .collect();
    assert_eq!(reached, [9, 5, 6, 4]);
    assert_eq!(leaves(&table)[0].bus, bus(15 * page, page));
    assert_eq!(leaves(&table)[3].bus, bus(18 * page, page));
    unmap(arena, &mut table, 15 * page, 4 * page);
    finish(arena, table);
}

pub(crate) fn neighbours_in_a_list_share_a_large_leaf<F: Subject>(format: F) {
    let (page, large) = (page(&format), size(&format, 2));
    let (arena, mut table) = table(format);
    if !leaf_levels(&format).contains(&2) || aperture_bytes(&table) < 4 * large {
        return finish(arena, table);
    }
    let memory = |n| phys(32 * large + n * page, page);
    let mut list = Replay::new((0..2 * large / page + 1).map(memory));
    table
        .map_list(BusAddr::new(large), &mut list, Permission::ReadWrite)
        .unwrap();
    assert_eq!(
        leaves(&table),
        best_leaves(&format, large, 32 * large, 2 * large + page)
    );
    finish(arena, table);
}

pub(crate) fn the_top_of_the_aperture_is_mapped<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    let birth = table.frames();
    let last = table.aperture_last().as_u64();
    assert_eq!(last.trailing_ones(), format.geometry().input_bits());
    for level in leaf_levels(&format) {
        let (size, y) = (size(&format, level), 8 * size(&format, level));
        let z = last - (size - 1);
        map(&mut table, z, y, size).unwrap();
        assert_eq!(leaves(&table), best_leaves(&format, z, y, size));
        let target = table.lookup(BusAddr::new(last)).unwrap();
        assert_eq!(target.phys.as_u64(), y + size - 1);
        unmap(arena, &mut table, z, size);
        reclaim(arena, &mut table);
        assert_eq!(table.frames(), birth);
    }
    finish(arena, table);
}

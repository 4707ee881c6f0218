//! What is mapped where, and with which leaves.

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::pagetable::{Entry, Format, Leaf, Permission, Replay, Target};

use crate::subject::*;

const PERMISSIONS: [Permission; 3] = [Permission::Read, Permission::Write, Permission::ReadWrite];

pub(crate) fn entries_decode_as_they_were_encoded<F: Format>(format: F) {
    for level in leaf_levels(&format) {
        for permission in PERMISSIONS {
            let last = format.last_phys().align_down(12 + 9 * (level - 1));
            for phys in [PhysAddr::new(0), PhysAddr::new(5 * size(level)), last] {
                let word = format.leaf(level, phys, permission);
                assert_eq!(format.decode(level, word), Entry::Leaf { phys, permission });
            }
        }
    }
    for level in 2..=format.levels() {
        for phys in [PhysAddr::new(PAGE), format.last_phys().align_down(12)] {
            assert_eq!(
                format.decode(level, format.table(level, phys)),
                Entry::Table(phys)
            );
        }
    }
}

pub(crate) fn words_of_unlinked_tables_decode_as_empty<F: Format>(format: F) {
    for level in 1..=format.levels() {
        for bit in 12..52 {
            assert_eq!(format.decode(level, 1 << bit), Entry::Empty);
        }
        assert_eq!(format.decode(level, 0), Entry::Empty);
        assert_eq!(format.decode(level, 0x000f_ffff_ffff_f000), Entry::Empty);
    }
}

pub(crate) fn each_byte_of_a_mapping_is_translated<F: Format>(format: F) {
    for permission in PERMISSIONS {
        let (arena, mut table) = table(format);
        let (z, y) = (BusAddr::new(0x3000), phys(0x7_5000, 3 * PAGE));
        table.map(z, y, permission).unwrap();
        for offset in [0, 1, PAGE, 2 * PAGE + 17, 3 * PAGE - 1] {
            let target = Target {
                phys: PhysAddr::new(0x7_5000 + offset),
                permission,
                leaf_size_log2: 12,
            };
            assert_eq!(table.lookup(z.checked_add(offset).unwrap()), Some(target));
            let root = table.root_phys().as_u64();
            let walked = hardware_walk(&format, root, 0x3000 + offset, &|at| arena.word(at));
            assert_eq!(walked, Some((0x7_5000 + offset, permission)));
        }
        assert_eq!(table.lookup(BusAddr::new(0x2fff)), None);
        assert_eq!(table.lookup(BusAddr::new(0x6000)), None);
        assert_eq!(table.lookup(BusAddr::new(u64::MAX)), None);
        unmap(arena, &mut table, 0x3000, 3 * PAGE);
        assert_eq!(table.lookup(z), None);
        finish(arena, table);
    }
}

/// More leaves than this take long and say no more.
const MANY: usize = 8192;

/// The leaves a run must have, or the first [`MANY`]: at each address the largest that fits.
fn best_leaves<F: Format>(format: &F, z: u64, y: u64, len_bytes: u64) -> Vec<Leaf> {
    let sizes: Vec<u64> = leaf_levels(format).into_iter().map(size).rev().collect();
    let mut done = 0;
    let mut leaves = Vec::new();
    while done < len_bytes && leaves.len() < MANY {
        let aligned =
            |size: u64| (z + done).is_multiple_of(size) && (y + done).is_multiple_of(size);
        let fits = |size: &u64| aligned(*size) && len_bytes - done >= *size;
        let size = sizes.iter().copied().find(fits).unwrap();
        leaves.push(Leaf {
            bus: bus(z + done, size),
            phys: PhysAddr::new(y + done),
            permission: Permission::ReadWrite,
        });
        done += size;
    }
    leaves
}

pub(crate) fn the_largest_leaf_is_used_at_every_alignment<F: Format>(format: F) {
    let alignments = [
        0,
        PAGE,
        2 * MIB - PAGE,
        2 * MIB,
        2 * MIB + PAGE,
        GIB - 2 * MIB,
        GIB,
    ];
    let lengths = [
        PAGE,
        2 * MIB - PAGE,
        2 * MIB,
        2 * MIB + PAGE,
        4 * MIB,
        GIB,
        GIB + 2 * MIB + PAGE,
    ];
    let (arena, mut table) = table(format);
    let birth = table.frames();
    for z in alignments {
        for y in [z, z + PAGE, z + 2 * MIB, z + GIB, 0, 2 * MIB] {
            for len_bytes in lengths {
                let expected = best_leaves(&format, z, y, len_bytes);
                if z + len_bytes > aperture_bytes(&table) || expected.len() >= MANY {
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

pub(crate) fn scattered_memory_lies_side_by_side<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    let memory = [
        phys(0x9000, PAGE),
        phys(0x5000, 2 * PAGE),
        phys(0x1_0000, 0),
        phys(0x4000, PAGE),
    ];
    let mut list = Replay::new(memory.into_iter());
    table
        .map_list(BusAddr::new(0xf000), &mut list, Permission::Read)
        .unwrap();
    let reached: Vec<u64> = leaves(&table)
        .iter()
        .map(|leaf| leaf.phys.as_u64())
        .collect();
    assert_eq!(reached, [0x9000, 0x5000, 0x6000, 0x4000]);
    assert_eq!(leaves(&table)[0].bus, bus(0xf000, PAGE));
    assert_eq!(leaves(&table)[3].bus, bus(0x1_2000, PAGE));
    unmap(arena, &mut table, 0xf000, 4 * PAGE);
    finish(arena, table);
}

pub(crate) fn neighbours_in_a_list_share_a_large_leaf<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    if !format.leaf_sizes().at_level(2) || format.levels() < 2 {
        return finish(arena, table);
    }
    let page = |n| phys(64 * MIB + n * PAGE, PAGE);
    let mut list = Replay::new((0..1025).map(page));
    table
        .map_list(BusAddr::new(2 * MIB), &mut list, Permission::ReadWrite)
        .unwrap();
    assert_eq!(
        leaves(&table),
        best_leaves(&format, 2 * MIB, 64 * MIB, 4 * MIB + PAGE)
    );
    finish(arena, table);
}

pub(crate) fn the_top_of_the_aperture_is_mapped<F: Format>(format: F) {
    let (arena, mut table) = table(format);
    let birth = table.frames();
    let last = table.aperture_last().as_u64();
    for level in leaf_levels(&format) {
        let z = last - (size(level) - 1);
        map(&mut table, z, 8 * GIB, size(level)).unwrap();
        assert_eq!(
            leaves(&table),
            best_leaves(&format, z, 8 * GIB, size(level))
        );
        let target = table.lookup(BusAddr::new(last)).unwrap();
        assert_eq!(target.phys.as_u64(), 8 * GIB + size(level) - 1);
        unmap(arena, &mut table, z, size(level));
        reclaim(arena, &mut table);
        assert_eq!(table.frames(), birth);
    }
    finish(arena, table);
}

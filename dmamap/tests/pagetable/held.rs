//! Entries that are held: written without a walk, they read as what the walker would have written.

use dmamap::addr::{BusAddr, PhysRange};
use dmamap::pagetable::{Gather, HELD, Permission, Replay};

use crate::subject::*;

const PERMISSIONS: [Permission; 3] = [Permission::Read, Permission::Write, Permission::ReadWrite];

/// Whether entries of a level are leaves, below a root.
fn can_be_held<F: Subject>(format: &F, level: u32) -> bool {
    level < format.geometry().levels() && leaf_levels(format).contains(&level)
}

/// The same ranges through held entries, and by the walker as the oracle.
pub(crate) fn held_entries_say_what_the_walker_would_have_written<F: Subject>(format: F) {
    held_entries_say_the_same::<F, 1>(format);
    held_entries_say_the_same::<F, 2>(format);
}

fn held_entries_say_the_same<F: Subject, const LEVEL: u32>(format: F) {
    let page = size(&format, LEVEL);
    let held_bytes = page * HELD as u64;
    let (held_arena, mut table) = table(format);
    let (walked_arena, mut walked) = self::table(format);
    // SAFETY: they are let go below, and only this test maps there.
    let held = unsafe { table.hold_entries::<LEVEL>(BusAddr::new(held_bytes)) };
    assert_eq!(held.is_some(), can_be_held(&format, LEVEL));
    let Some(held) = held else {
        finish(held_arena, table);
        return finish(walked_arena, walked);
    };
    let birth = walked.frames();
    let z = held_bytes;
    let most = format.last_phys().as_u64() / held_bytes;
    assert_eq!(held.bus(), BusAddr::new(z));
    let (mut state, mut live) = (1u64, Vec::new());
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for round in 0..400 {
        let (at, pages) = (random(HELD as u64), 1 + random([2, 40, 300][round % 3]));
        let (start, len_bytes) = (z + at * page, pages * page);
        // Congruent to the address in every second round, as runs need it.
        let y = (1 + random(most.min(64) - 2)) * held_bytes + at * page * (round as u64 % 2);
        let permission = PERMISSIONS[round % 3];
        let fits = at + pages <= HELD as u64;
        let overlaps = live
            .iter()
            .any(|&(other, len)| start < other + len && other < start + len_bytes);
        let cut = page * random(pages + 1);
        let pieces = [(y, cut), (y + held_bytes, len_bytes - cut)].map(|(y, len)| phys(y, len));
        let pieces = || {
            pieces
                .into_iter()
                .filter(|piece: &PhysRange| !piece.is_empty())
        };
        let mapped = match round % 4 {
            0 | 1 => held.map(BusAddr::new(start), phys(y, len_bytes), permission),
            _ => held.map_list(
                bus(start, len_bytes),
                &mut Replay::new(pieces()),
                permission,
            ),
        };
        assert_eq!(mapped, fits && !overlaps, "round {round}");
        if mapped {
            let memory = BusAddr::new(start);
            match round % 4 {
                0 | 1 => walked.map(memory, phys(y, len_bytes), permission),
                _ => walked.map_list(memory, &mut Replay::new(pieces()), permission),
            }
            .unwrap();
            live.push((start, len_bytes));
        }
        if random(3) == 0 && !live.is_empty() {
            let (start, len_bytes) = live.swap_remove(random(live.len() as u64) as usize);
            assert!(held.unmap(bus(start, len_bytes)));
            assert!(!held.unmap(bus(start, len_bytes)), "it is unmapped already");
            unmap(walked_arena, &mut walked, start, len_bytes);
        }
        for at in (z..z + held_bytes).step_by(page as usize) {
            let at = BusAddr::new(at);
            assert_eq!(table.lookup(at), walked.lookup(at), "round {round}");
        }
    }
    assert!(live.len() > 1, "the walker is left something to unmap");
    let mut gather = Gather::new(held_arena);
    assert!(table.let_go_entries(held, &mut gather).is_ok());
    assert_eq!(gather.range(), None, "what is mapped keeps its table");
    for (start, len_bytes) in live {
        unmap(held_arena, &mut table, start, len_bytes);
        unmap(walked_arena, &mut walked, start, len_bytes);
    }
    for (arena, table) in [(held_arena, &mut table), (walked_arena, &mut walked)] {
        reclaim(arena, table);
        assert_eq!(table.frames(), birth);
    }
    finish(held_arena, table);
    finish(walked_arena, walked);
}

pub(crate) fn tables_with_held_entries_stay<F: Subject>(format: F) {
    a_table_with_held_entries_stays::<F, 1>(format);
    a_table_with_held_entries_stays::<F, 2>(format);
}

fn a_table_with_held_entries_stays<F: Subject, const LEVEL: u32>(format: F) {
    let page = size(&format, LEVEL);
    let (arena, mut table) = table(format);
    if !can_be_held(&format, LEVEL) {
        return finish(arena, table);
    }
    let birth = table.frames();
    // SAFETY: they are let go below, and nothing is mapped there by the walker.
    let held = unsafe { table.hold_entries::<LEVEL>(BusAddr::new(0)) }.unwrap();
    // SAFETY: nothing is held.
    let other = unsafe { table.hold_entries::<LEVEL>(BusAddr::new(page)) };
    assert!(other.is_none(), "it is at no multiple of their size");
    let with_table = table.frames();
    // They are not another table's to let go of, which has some there, too.
    let (other_arena, mut other) = self::table(format);
    // SAFETY: they are let go below, and nothing is mapped there.
    let its_own = unsafe { other.hold_entries::<LEVEL>(BusAddr::new(0)) }.unwrap();
    let mut gather = Gather::new(other_arena);
    let held = other.let_go_entries(held, &mut gather).err();
    let held = held.expect("they come back");
    assert!(other.let_go_entries(its_own, &mut gather).is_ok());
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
    finish(other_arena, other);
    // Emptied and wanted back, the table stays all the same.
    assert!(held.map(BusAddr::new(0), phys(0, page), Permission::Read));
    assert!(held.unmap(bus(0, page)));
    reclaim(arena, &mut table);
    assert_eq!(table.frames(), with_table);
    assert!(held.map(BusAddr::new(page), phys(page, page), Permission::Read));
    assert!(table.lookup(BusAddr::new(page)).is_some());
    assert!(held.unmap(bus(page, page)));
    let mut gather = Gather::new(arena);
    assert!(table.let_go_entries(held, &mut gather).is_ok());
    // SAFETY: no unit walks the table.
    unsafe { gather.release() };
    reclaim(arena, &mut table);
    assert_eq!(table.frames(), birth);
    finish(arena, table);
}

/// What the unit does not see in the CPU's caches is written back.
pub(crate) fn held_entries_are_written_back<F: Subject>(format: F) {
    let page = page(&format);
    let (arena, mut table) = table(format);
    if format.geometry().levels() > 1 {
        // SAFETY: they are let go below.
        let held = unsafe { table.hold_entries::<1>(BusAddr::new(0)) }.unwrap();
        let snooped = format.coherence() == dmamap::pagetable::WalkCoherence::Snooped;
        arena.take_cleaned();
        assert!(held.map(BusAddr::new(page), phys(page, page), Permission::Read));
        assert_eq!(arena.take_cleaned().is_empty(), snooped);
        assert!(held.unmap(bus(page, page)));
        assert_eq!(arena.take_cleaned().is_empty(), snooped);
        let mut gather = Gather::new(arena);
        assert!(table.let_go_entries(held, &mut gather).is_ok());
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
    finish(arena, table);
}

/// A leaf never takes the place of a table, nor does a unit find one where a leaf was.
pub(crate) fn entries_that_lead_to_tables_are_not_held<F: Subject>(format: F) {
    let (arena, mut table) = table(format);
    if can_be_held(&format, 2) {
        let small = page(&format);
        map(&mut table, 0, 0, small).unwrap();
        // SAFETY: nothing is held.
        let held = unsafe { table.hold_entries::<2>(BusAddr::new(0)) };
        assert!(held.is_none(), "a table is there, with something in it");
        unmap(arena, &mut table, 0, small);
        // SAFETY: nothing is held.
        let held = unsafe { table.hold_entries::<2>(BusAddr::new(0)) };
        assert!(
            held.is_none(),
            "a table is there that a unit may have walked"
        );
        reclaim(arena, &mut table);
        // SAFETY: they are let go below, and only this test maps there.
        let held = unsafe { table.hold_entries::<2>(BusAddr::new(0)) }.unwrap();
        let large = size(&format, 2);
        assert!(held.map(BusAddr::new(0), phys(0, large), Permission::Read));
        assert!(!held.map(BusAddr::new(large), phys(large, small), Permission::Read));
        let mut gather = Gather::new(arena);
        assert!(table.let_go_entries(held, &mut gather).is_ok());
        unmap(arena, &mut table, 0, large);
    }
    finish(arena, table);
}

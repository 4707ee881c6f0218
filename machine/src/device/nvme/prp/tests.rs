use super::*;
use std::collections::HashMap;

const PAGE: u64 = 4096;

/// Walks with lists that live in `memory`, by address of each 8-byte entry.
fn walk(
    first: u64,
    second: u64,
    len_bytes: u64,
    memory: &HashMap<u64, u64>,
) -> Result<Vec<(u64, u64)>, PrpError<()>> {
    let mut runs = vec![BusRun {
        bus: 1,
        len_bytes: 1,
    }];
    Prp {
        first,
        second,
        page_bytes: PAGE,
    }
    .walk(len_bytes, &mut runs, |bus, into| {
        assert_eq!(
            bus / PAGE,
            (bus + into.len() as u64 - 1) / PAGE,
            "fetch within one page"
        );
        for (i, word) in into.chunks_exact_mut(8).enumerate() {
            let entry = memory.get(&(bus + 8 * i as u64)).ok_or(())?;
            word.copy_from_slice(&entry.to_le_bytes());
        }
        Ok(())
    })?;
    Ok(runs.iter().map(|s| (s.bus, s.len_bytes)).collect())
}

fn list(at: u64, entries: &[u64]) -> HashMap<u64, u64> {
    entries
        .iter()
        .enumerate()
        .map(|(i, &entry)| (at + 8 * i as u64, entry))
        .collect()
}

#[test]
fn one_page_needs_no_second_entry() {
    let none = HashMap::new();
    assert_eq!(walk(0x5200, u64::MAX, 512, &none), Ok(vec![(0x5200, 512)]));
    assert_eq!(
        walk(0x5000, u64::MAX, 4096, &none),
        Ok(vec![(0x5000, 4096)])
    );
}

#[test]
fn two_pages_take_the_second_entry_as_data() {
    let none = HashMap::new();
    let two = walk(0x5800, 0x9000, 4096, &none);
    assert_eq!(two, Ok(vec![(0x5800, 2048), (0x9000, 2048)]));
    assert_eq!(walk(0x5000, 0x6000, 8192, &none), Ok(vec![(0x5000, 8192)]));
}

#[test]
fn three_pages_take_the_second_entry_as_a_list_at_any_qword() {
    let memory = list(0xff8 - 8, &[0x9000, 0x7000]);
    let three = walk(0x5000, 0xff0, 3 * 4096 - 512, &memory);
    assert_eq!(
        three,
        Ok(vec![(0x5000, 4096), (0x9000, 4096), (0x7000, 3584)])
    );
}

#[test]
fn a_full_list_page_chains_only_when_more_than_its_last_entry_is_left() {
    // Two entries of room: the last one is data if it is the last page ...
    let exact = list(0x10ff0, &[0x20000, 0x30000]);
    assert_eq!(walk(0x5000, 0x10ff0, 3 * 4096, &exact).unwrap().len(), 3);
    // ... and a pointer to the next list otherwise.
    let mut chained = list(0x10ff0, &[0x20000, 0x11000]);
    chained.extend(list(0x11000, &[0x30000, 0x40000]));
    assert_eq!(
        walk(0x5000, 0x10ff0, 4 * 4096, &chained),
        Ok(vec![
            (0x5000, 4096),
            (0x20000, 4096),
            (0x30000, 4096),
            (0x40000, 4096)
        ])
    );
}

#[test]
fn a_list_that_starts_in_the_last_entry_of_its_page_is_only_a_pointer() {
    let mut memory = list(0x10ff8, &[0x11000]);
    memory.extend(list(0x11000, &[0x20000, 0x40000]));
    assert_eq!(
        walk(0x5000, 0x10ff8, 3 * 4096, &memory),
        Ok(vec![(0x5000, 4096), (0x20000, 4096), (0x40000, 4096)])
    );
}

#[test]
fn long_chains_cover_every_byte_once() {
    let pages = 2000u64;
    let mut memory = HashMap::new();
    let (mut slot, mut next_list) = (0x100_0000, 0x101_0000);
    for page in 1..pages {
        if slot % PAGE == PAGE - 8 && page != pages - 1 {
            memory.insert(slot, next_list);
            slot = next_list;
            next_list += 0x1_0000;
        }
        memory.insert(slot, 0x4000_0000 + page * 0x2000);
        slot += 8;
    }
    let segments = walk(0x4000_0000, 0x100_0000, pages * PAGE, &memory).unwrap();
    let expected: Vec<_> = (0..pages)
        .map(|page| (0x4000_0000 + page * 0x2000, 4096))
        .collect();
    assert_eq!(segments, expected);
}

#[test]
fn offsets_are_refused_where_the_place_forbids_them() {
    let none = HashMap::new();
    let offset = |entry| Err(PrpError::Offset { entry });
    assert_eq!(walk(0x5002, 0, 512, &none), offset(0x5002));
    assert_eq!(walk(0x5000, 0x9004, 8192, &none), offset(0x9004));
    assert_eq!(walk(0x5000, 0x9004, 3 * 4096, &none), offset(0x9004));
    assert_eq!(
        walk(0x5000, 0x8000, 3 * 4096, &list(0x8000, &[0x9000, 0xa200])),
        offset(0xa200)
    );
    let chained = list(0x8ff0, &[0x9000, 0xb008]);
    assert_eq!(walk(0x5000, 0x8ff0, 5 * 4096, &chained), offset(0xb008));
}

#[test]
fn an_unreadable_list_is_told_with_its_address() {
    let error = walk(0x5000, 0x9000, 3 * 4096, &HashMap::new());
    assert_eq!(
        error,
        Err(PrpError::List {
            bus: 0x9000,
            source: ()
        })
    );
}

//! Lists are read back by following them as a controller does.

use alloc::vec;

use super::*;

const LIST_BASE: u64 = 0x7000_0000;

/// List pages in ordinary memory, at bus addresses from [`LIST_BASE`].
struct Memory(Vec<[u64; LIST_ENTRIES]>);

impl Lists for Memory {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn bus_addr(&self, list: usize) -> BusAddr {
        BusAddr::new(LIST_BASE + list as u64 * PAGE_BYTES)
    }

    fn write(&mut self, list: usize, entry: usize, page: u64) {
        self.0[list][entry] = page;
    }
}

/// The pages a controller finds for `len_bytes`, following NVMe Base 2.0, 4.1.1.
fn follow(memory: &Memory, prps: Prps, len_bytes: u64) -> Vec<(u64, u64)> {
    let in_first = (PAGE_BYTES - prps.first % PAGE_BYTES).min(len_bytes);
    let mut pages = vec![(prps.first, in_first)];
    let mut left = len_bytes - in_first;
    if left == 0 {
        return pages;
    }
    if left <= PAGE_BYTES {
        pages.push((prps.second, left));
        return pages;
    }
    let (mut list, mut entry) = (((prps.second - LIST_BASE) / PAGE_BYTES) as usize, 0);
    while left > 0 {
        let value = memory.0[list][entry];
        if entry == LIST_ENTRIES - 1 && left > PAGE_BYTES {
            (list, entry) = (((value - LIST_BASE) / PAGE_BYTES) as usize, 0);
            continue;
        }
        let taken = left.min(PAGE_BYTES);
        pages.push((value, taken));
        left -= taken;
        entry += 1;
    }
    pages
}

fn check(segments: &[(u64, u64)], len_bytes: u64) {
    let mut memory = Memory(vec![[u64::MAX; LIST_ENTRIES]; list_pages_for(len_bytes)]);
    let ranges = segments
        .iter()
        .map(|&(at, len)| BusRange::new(BusAddr::new(at), len).unwrap());
    let prps = describe(&mut memory, ranges, len_bytes).unwrap();
    let found: Vec<u64> = follow(&memory, prps, len_bytes)
        .into_iter()
        .flat_map(|(at, len)| (at..at + len).step_by(4))
        .collect();
    let expected: Vec<u64> = segments
        .iter()
        .flat_map(|&(at, len)| (at..at + len).step_by(4))
        .take((len_bytes / 4) as usize)
        .collect();
    assert_eq!(found, expected);
}

fn refuse(segments: &[(u64, u64)], len_bytes: u64) -> PrpError {
    let mut memory = Memory(vec![[0; LIST_ENTRIES]; 1]);
    let ranges = segments
        .iter()
        .map(|&(at, len)| BusRange::new(BusAddr::new(at), len).unwrap());
    describe(&mut memory, ranges, len_bytes).unwrap_err()
}

#[test]
fn one_and_two_pages_need_no_list() {
    check(&[(0x1000, 512)], 512);
    check(&[(0x1000, 4096)], 4096);
    check(&[(0x1e00, 1024)], 1024);
    check(&[(0x1000, 0x1000), (0x9000, 0x1000)], 0x2000);
    check(&[(0x1800, 0x1000)], 0x1000);
}

#[test]
fn longer_data_is_described_by_a_list() {
    check(&[(0x10_0000, 0x3000)], 0x3000);
    check(&[(0x10_0e00, 0x3000)], 0x3000);
    check(
        &[(0x10_0000, 0x1000), (0x20_0000, 0x1000), (0x5000, 0x4000)],
        0x5200,
    );
}

#[test]
fn lists_are_chained_at_their_last_entry() {
    for pages in [511, 512, 513, 514, 515, 1023, 1024, 1025, 1026, 2048] {
        check(&[(0x1000_0000, pages * PAGE_BYTES)], pages * PAGE_BYTES);
        check(&[(0x1000_0800, pages * PAGE_BYTES)], pages * PAGE_BYTES);
    }
}

#[test]
fn only_the_bytes_asked_for_are_described() {
    check(&[(0x10_0000, 0x10_0000)], 512);
    check(&[(0x10_0000, 0x2000), (0x20_0000, 0x2000)], 0x1000);
}

#[test]
fn empty_segments_are_skipped() {
    check(
        &[(0x1000, 0), (0x2000, 0x1000), (0x5000, 0), (0x8000, 0x1000)],
        0x2000,
    );
}

#[test]
fn a_piece_that_ends_or_starts_inside_a_page_is_refused() {
    assert!(matches!(
        refuse(&[(0x1000, 0x800), (0x3000, 0x1000)], 0x1000),
        PrpError::Gap { .. }
    ));
    assert!(matches!(
        refuse(&[(0x1000, 0x1000), (0x3800, 0x1000)], 0x1800),
        PrpError::Gap { .. }
    ));
    assert!(matches!(
        refuse(&[(0x1001, 0x100)], 0x80),
        PrpError::Misaligned { .. }
    ));
}

#[test]
fn a_mapping_shorter_than_the_data_is_refused() {
    assert_eq!(
        refuse(&[(0x1000, 0x1000)], 0x1800),
        PrpError::TooShort {
            missing_bytes: 0x800
        }
    );
    assert_eq!(
        refuse(&[], 0x200),
        PrpError::TooShort {
            missing_bytes: 0x200
        }
    );
}

#[test]
fn data_beyond_the_lists_is_refused() {
    assert_eq!(
        refuse(&[(0x1000, 1000 * PAGE_BYTES)], 1000 * PAGE_BYTES),
        PrpError::TooLong { list_pages: 1 }
    );
}

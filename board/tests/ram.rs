//! RAM seen from both sides: hardware's accesses and a kernel's mappings.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use board::ram::{PAGE_BYTES, Ram, RamError, RamRegion, RamRun, Reservation};

const PAGE: u64 = PAGE_BYTES;

fn load(pointer: NonNull<u8>) -> u8 {
    // SAFETY: the tests pass pointers into mappings they hold.
    unsafe { pointer.read_volatile() }
}

#[test]
fn regions_must_be_whole_ascending_pages() {
    for regions in [
        &[][..],
        &[0..0],
        &[0..100],
        &[PAGE..2 * PAGE, 0..PAGE],
        &[0..2 * PAGE, PAGE..3 * PAGE],
    ] {
        assert!(
            matches!(Ram::new(regions), Err(RamError::Regions(_))),
            "{regions:?}"
        );
    }
}

#[test]
fn holes_are_not_memory() {
    let ram = Ram::new(&[0..2 * PAGE, 4 * PAGE..6 * PAGE]).unwrap();
    assert!(ram.write(2 * PAGE - 2, &[1, 2]).is_ok());
    assert!(
        ram.write(2 * PAGE - 1, &[1, 2]).is_err(),
        "an access does not run into a hole"
    );
    assert!(ram.load_u64(3 * PAGE).is_err());
    assert!(ram.load_u64(6 * PAGE).is_err());
    assert!(ram.load_u64(u64::MAX - 6).is_err());
    assert!(ram.load_u32(2).is_err(), "words are aligned");
}

#[test]
fn regions_that_touch_are_one() {
    let ram = Ram::new(&[0..PAGE, PAGE..2 * PAGE]).unwrap();
    assert_eq!(ram.regions(), [0..2 * PAGE]);
    assert!(ram.write(PAGE - 4, &[0; 8]).is_ok());
}

fn placed(phys: std::ops::Range<u64>, file_offset: u64) -> RamRegion {
    RamRegion { phys, file_offset }
}

#[test]
fn memory_lies_in_the_file_where_it_was_asked_to() {
    let (low, high) = (PAGE..3 * PAGE, 8 * PAGE..10 * PAGE);
    let ram = Ram::with_file_offsets(&[placed(low, 0), placed(high, 2 * PAGE)]).unwrap();
    assert_eq!((ram.end(), ram.file_len_bytes()), (10 * PAGE, 4 * PAGE));
    assert_eq!(ram.file_offset(0), None);
    ram.store_u8(PAGE, 1).unwrap();
    ram.store_u8(9 * PAGE, 2).unwrap();

    // Whoever maps the file sees it so, and so does a kernel that maps by physical address.
    let file = File::from(ram.fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; 4 * PAGE as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes[0], bytes[3 * PAGE as usize]), (1, 2));
    let direct = ram.map_kernel().unwrap();
    assert_eq!(load(direct.pointer(9 * PAGE).unwrap()), 2);
    let area = Reservation::new(2 * PAGE).unwrap();
    // SAFETY: nobody uses the reservation yet.
    let start = unsafe { area.map_pages(0, &ram, &[9 * PAGE, PAGE]) }.unwrap();
    assert_eq!(load(start), 2);

    ram.discard(9 * PAGE, PAGE).unwrap();
    assert_eq!(ram.load_u8(9 * PAGE).unwrap(), 0);
    assert_eq!(ram.load_u8(PAGE).unwrap(), 1);
}

#[test]
fn one_run_of_addresses_is_one_run_of_the_file() {
    for (first, second) in [
        (placed(0..PAGE, 0), placed(PAGE..2 * PAGE, 2 * PAGE)),
        (placed(0..PAGE, PAGE), placed(2 * PAGE..3 * PAGE, PAGE)),
        (placed(0..PAGE, PAGE), placed(2 * PAGE..3 * PAGE, 0)),
        (placed(0..PAGE, 0), placed(2 * PAGE..3 * PAGE, PAGE + 1)),
    ] {
        let refused = Ram::with_file_offsets(&[first, second.clone()]);
        assert!(
            matches!(&refused, Err(RamError::Regions(phys)) if *phys == second.phys),
            "{second:?}"
        );
    }
}

#[test]
fn a_kernel_and_hardware_see_the_same_bytes() {
    let ram = Ram::new(&[0..16 * PAGE]).unwrap();
    let direct = ram.map_kernel().unwrap();
    ram.store_u64(5 * PAGE, 0x1122_3344).unwrap();
    assert_eq!(load(direct.pointer(5 * PAGE).unwrap()), 0x44);
    // SAFETY: inside the mapping, which nobody else uses.
    unsafe { direct.base().add(7).write_volatile(9) };
    assert_eq!(ram.load_u8(7).unwrap(), 9);
    assert!(direct.pointer(16 * PAGE).is_none());
}

#[test]
fn scattered_pages_lie_side_by_side_and_fault_again_when_unmapped() {
    let ram = Ram::new(&[0..16 * PAGE]).unwrap();
    let area = Reservation::new(8 * PAGE).unwrap();
    let pages = [9 * PAGE, 3 * PAGE, 4 * PAGE];
    for (index, page) in pages.iter().enumerate() {
        ram.store_u8(*page, index as u8 + 1).unwrap();
    }
    // SAFETY: nobody uses the reservation yet.
    let start = unsafe { area.map_pages(2 * PAGE, &ram, &pages) }.unwrap();
    assert_eq!(
        start.addr().get(),
        area.base().addr().get() + 2 * PAGE as usize
    );
    for index in 0..3 {
        // SAFETY: inside the pages just mapped.
        let page = unsafe { start.add(index * PAGE as usize) };
        assert_eq!(load(page), index as u8 + 1);
    }
    // SAFETY: the pages are not used any more.
    unsafe { area.unmap_pages(2 * PAGE, 3) }.unwrap();

    // SAFETY: as above; these calls fail before they map anything.
    let refused = |offset, page| unsafe { area.map_pages(offset, &ram, &[page]) }.unwrap_err();
    assert!(matches!(
        refused(8 * PAGE, 0),
        RamError::OutsideReservation { .. }
    ));
    assert!(matches!(refused(0, 16 * PAGE), RamError::NotAPage(_)));
    assert!(matches!(refused(0, 12), RamError::NotAPage(_)));
}

#[test]
fn words_are_little_endian_and_exchange_atomically() {
    let ram = Ram::new(&[0..PAGE]).unwrap();
    ram.write(8, &[1, 0, 0, 0, 0, 0, 0, 0x80]).unwrap();
    assert_eq!(ram.load_u64(8).unwrap(), 0x8000_0000_0000_0001);
    assert_eq!(
        ram.compare_exchange_u64(8, 1, 2).unwrap(),
        Err(0x8000_0000_0000_0001)
    );
    assert_eq!(
        ram.compare_exchange_u64(8, 0x8000_0000_0000_0001, 2)
            .unwrap(),
        Ok(0x8000_0000_0000_0001)
    );
    assert_eq!(ram.load_u16(8).unwrap(), 2);
}

#[test]
fn copies_of_every_length_and_alignment_arrive() {
    let ram = Ram::new(&[0..PAGE]).unwrap();
    let data: Vec<u8> = (1..=200).collect();
    for start in 0..9 {
        for len in [0, 1, 3, 4, 8, 12, 16, 60, 64, 65, 200] {
            ram.fill(0, PAGE as usize, 0).unwrap();
            ram.write(start, &data[..len]).unwrap();
            let mut back = vec![0xee; len];
            ram.read(start, &mut back).unwrap();
            assert_eq!(back, data[..len]);
            assert_eq!(ram.load_u8(start + len as u64).unwrap(), 0);
        }
    }
}

#[test]
fn untouched_memory_costs_nothing_and_discarded_memory_reads_zero() {
    let ram = Ram::new(&[0..0xa_0000, 0x10_0000..64 << 30]).unwrap();
    let last = (64 << 30) - PAGE;
    ram.store_u64(last, 7).unwrap();
    assert_eq!(ram.load_u64(last).unwrap(), 7);
    let on_host = || rustix::fs::fstat(ram.fd()).unwrap().st_blocks as u64 * 512;
    assert!(on_host() <= 16 * PAGE, "{}", on_host());
    ram.discard(last, PAGE).unwrap();
    assert_eq!(on_host(), 0);
    assert_eq!(ram.load_u64(last).unwrap(), 0);
    assert!(ram.discard(last, 2 * PAGE).is_err());
    assert!(ram.discard(last + 8, 8).is_err());
}

#[test]
fn a_file_is_read_into_runs_and_written_from_them() {
    let ram = Ram::new(&[0..16 * PAGE]).unwrap();
    let mut file: File = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..3 * PAGE).map(|i| (i / 7) as u8).collect();
    file.write_all(&content).unwrap();
    file.rewind().unwrap();
    let runs = [
        RamRun {
            phys: 8 * PAGE + 100,
            len_bytes: PAGE,
        },
        RamRun {
            phys: 2 * PAGE,
            len_bytes: 2 * PAGE,
        },
    ];
    // The file ends 50 bytes before the runs do.
    assert_eq!(ram.read_from_file(&runs, &file, 50).unwrap(), 3 * PAGE - 50);
    let mut back = vec![0; PAGE as usize];
    ram.read(8 * PAGE + 100, &mut back).unwrap();
    assert_eq!(back, content[50..][..PAGE as usize]);

    let copy = tempfile::tempfile().unwrap();
    assert_eq!(ram.write_to_file(&runs, &copy, 10).unwrap(), 3 * PAGE);
    let mut written = vec![0; 3 * PAGE as usize - 50];
    copy.read_exact_at(&mut written, 10).unwrap();
    assert_eq!(written, content[50..]);

    let outside = [RamRun {
        phys: 15 * PAGE,
        len_bytes: 2 * PAGE,
    }];
    assert_eq!(
        ram.read_from_file(&outside, &file, 0).unwrap_err().kind(),
        std::io::ErrorKind::InvalidInput
    );
}

//! Memory in a row, kept since boot.

use dmamap::addr::{PhysAddr, PhysRange};
use dmamap::buffer::{AreaFigures, BufferError, ContiguousArea, DmaMemory};
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Coherent};
use dmamap::system::Protection;
use hosted::Hosted;

use crate::{Fragmented, little_memory, little_memory_untranslated};
use rig::Random;
use rig::{EDU, PAGE, Rig};

const ANYWHERE: PhysAddr = PhysAddr::new(u64::MAX);

fn is_inside(inner: PhysRange, outer: PhysRange) -> bool {
    outer.start() <= inner.start() && inner.last() <= outer.last()
}

fn memory_of(device: &Device<Hosted>, coherent: &Coherent<Hosted, u8>) -> PhysRange {
    let start = device.translate(coherent.bus_addr()).unwrap();
    PhysRange::new(start, coherent.range().len_bytes()).unwrap()
}

#[test]
fn large_coherent_memory_comes_from_the_area_and_falls_back_to_the_platform() {
    for config in [little_memory(), little_memory_untranslated()] {
        let rig = Rig::boot(config);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        let system = ContiguousArea::reserve(rig.kernel, 32 * PAGE, ANYWHERE, 17).unwrap();
        rig.system().set_contiguous_area(Some(system.clone()));
        let own = ContiguousArea::reserve(rig.kernel, 16 * PAGE, ANYWHERE, 16).unwrap();

        let large = device.alloc_coherent::<u8>(16 << 10).unwrap();
        assert!(is_inside(memory_of(&device, &large), system.memory()));
        // A frame is to be had anywhere.
        let small = device.alloc_coherent::<u8>(4096).unwrap();
        assert!(!is_inside(memory_of(&device, &small), system.memory()));

        device.set_contiguous_area(Some(own.clone()));
        let first = device.alloc_coherent::<u8>(64 << 10).unwrap();
        assert!(is_inside(memory_of(&device, &first), own.memory()));
        assert_eq!(own.figures().longest_free_frames, 0);
        let second = device.alloc_coherent::<u8>(64 << 10).unwrap();
        for area in [&own, &system] {
            assert!(!is_inside(memory_of(&device, &second), area.memory()));
        }
        // Also where the platform has no two frames in a row left, the area has.
        drop(first);
        let fragmented = Fragmented::of(rig.kernel);
        let third = device.alloc_coherent::<u8>(64 << 10).unwrap();
        assert!(is_inside(memory_of(&device, &third), own.memory()));
        let zeroed = (0..third.len()).all(|n| third.read(n) == Ok(0));
        assert!(zeroed);
        drop((fragmented, large, small, second, third));
        assert_eq!(system.figures().lent_frames, 0);
        device.set_contiguous_area(None);
        drop(device);
        rig.system().set_contiguous_area(None);
        drop((system, own));
        rig.finish();
    }
}

#[test]
fn the_area_lives_as_long_as_a_buffer_of_it() {
    let rig = Rig::boot(little_memory());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let area = ContiguousArea::reserve(rig.kernel, 8 * PAGE, ANYWHERE, 12).unwrap();
    let buffer = area.allocate(3 * PAGE - 5, ANYWHERE, 12).unwrap();
    assert_eq!(buffer.len_bytes(), 3 * PAGE - 5);
    drop(area);
    assert_eq!(rig.frames_in_use(), before + 8);
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    drop(mapping.unmap().unwrap());
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    drop(device);
    rig.finish();
}

#[test]
fn what_an_area_cannot_lend_is_refused() {
    let rig = Rig::boot(little_memory());
    let area = ContiguousArea::reserve(rig.kernel, 8 * PAGE, ANYWHERE, 15).unwrap();
    let start = area.memory().start().as_u64();
    let full = |len_bytes| BufferError::AreaFull {
        len_bytes,
        area: area.memory(),
    };
    let check = |len_bytes, last, align_log2, expected: Result<u64, BufferError>| {
        let lent = area.allocate(len_bytes, PhysAddr::new(last), align_log2);
        assert_eq!(lent.map(|one| one.phys(0).unwrap().as_u64()), expected);
    };
    check(0, u64::MAX, 12, Err(BufferError::Empty));
    check(9 * PAGE, u64::MAX, 12, Err(full(9 * PAGE)));
    check(PAGE, start + PAGE - 2, 12, Err(full(PAGE)));
    check(PAGE, 0, 12, Err(full(PAGE)));
    check(PAGE, start + PAGE - 1, 12, Ok(start));
    check(8 * PAGE, u64::MAX, 15, Ok(start));
    check(PAGE, u64::MAX, 80, Err(full(PAGE)));
    check(PAGE, u64::MAX, 0, Ok(start));
    drop(area);
    assert!(ContiguousArea::reserve(rig.kernel, 0, ANYWHERE, 12).is_err());
    assert!(ContiguousArea::reserve(rig.kernel, 1 << 40, ANYWHERE, 12).is_err());
    rig.finish();
}

#[test]
fn loans_never_overlap_and_none_is_refused_for_which_there_is_room() {
    let rig = Rig::boot(little_memory());
    let random = Random::from_environment(0xa3ea);
    let frames = 200_u64;
    let area = ContiguousArea::reserve(rig.kernel, frames * PAGE, ANYWHERE, 12).unwrap();
    let first = area.memory().start().as_u64() / PAGE;
    let mut taken = vec![false; frames as usize];
    let mut loans = Vec::new();
    for step in 0..4000 {
        if random.below(5) < 3 {
            let count = 1 + random.below(24);
            let align_log2 = 12 + random.below(5) as u32;
            let align = 1 << (align_log2 - 12);
            let fits = (0..frames).any(|at| {
                at + count <= frames
                    && (first + at).is_multiple_of(align)
                    && !taken[at as usize..(at + count) as usize].contains(&true)
            });
            match area.allocate(count * PAGE, ANYWHERE, align_log2) {
                Ok(buffer) => {
                    let frame = buffer.phys(0).unwrap().as_u64() / PAGE;
                    assert!(frame.is_multiple_of(align), "step {step}");
                    let at = (frame - first) as usize;
                    let run = &mut taken[at..at + count as usize];
                    assert!(!run.contains(&true), "step {step}: lent twice");
                    run.fill(true);
                    loans.push((at, count as usize, buffer));
                }
                Err(error) => assert!(!fits, "step {step}: {error}, but there is room"),
            }
        } else if !loans.is_empty() {
            let pick = random.below(loans.len() as u64) as usize;
            let (at, count, buffer) = loans.swap_remove(pick);
            drop(buffer);
            taken[at..at + count].fill(false);
        }
        let lent = taken.iter().filter(|&&one| one).count();
        let longest = taken.split(|&one| one).map(<[bool]>::len).max();
        let expected = AreaFigures {
            frames: frames as usize,
            lent_frames: lent,
            longest_free_frames: longest.unwrap_or(0),
        };
        assert_eq!(area.figures(), expected, "step {step}");
    }
    drop(loans);
    drop(area);
    rig.finish();
}

//! What coherent memory is, and what options change of it.

use dmamap::addr::DmaMask;
use dmamap::buffer::BufferError;
use dmamap::map::{CoherentError, CoherentFailure, CoherentOptions, FromDevice, PoolLayout};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::{Granule, Protection, Settings};
use hw::smmu::stream;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;
use machine::{Iommu, MachineConfig};

use crate::{Fragmented, little_memory, little_memory_untranslated, logged_by};
use rig::{EDU, PAGE, Rig, small, try_read, try_write};

#[test]
fn memory_is_zeroed_and_aligned_to_the_order_that_covers_it() {
    for config in [small(), small().with_iommu(Iommu::None)] {
        let rig = Rig::boot(config);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        for pages in [1, 2, 3, 5, 8, 17, 100, 600] {
            for round in 0..2 {
                let memory = device.alloc_coherent::<u64>(pages * 512).unwrap();
                let order = (pages as u64 * PAGE).next_power_of_two();
                assert!(
                    memory.bus_addr().as_u64().is_multiple_of(order),
                    "{pages} pages at {}",
                    memory.bus_addr()
                );
                let dirty = (0..memory.len()).find(|&n| memory.read(n).unwrap() != 0);
                assert_eq!(dirty, None, "round {round}");
                (0..memory.len()).for_each(|n| memory.write(n, u64::MAX).unwrap());
                memory.free().unwrap();
            }
        }
        drop(device);
        rig.finish();
    }
}

#[test]
fn behind_an_iommu_coherent_memory_needs_no_frames_in_a_row() {
    let mut rig = Rig::boot(little_memory());
    let device = rig.attach(EDU);
    let fragmented = Fragmented::of(rig.kernel);

    let one = CoherentOptions::NONE.force_contiguous();
    let refused = device.alloc_attrs::<u64>(10 * 512, one);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(BufferError::OutOfFrames(_)),
                ..
            })
        ),
        "{refused:?}"
    );

    let memory = device.alloc_coherent::<u64>(10 * 512).unwrap();
    assert_eq!(memory.bus_addr().as_u64() % (16 * PAGE), 0);
    let frames: Vec<_> = (0..10)
        .map(|page| {
            let bus = memory.element_bus_addr(page * 512).unwrap();
            device.translate(bus).unwrap().as_u64()
        })
        .collect();
    assert!(
        frames.windows(2).all(|two| two[0].abs_diff(two[1]) > PAGE),
        "{frames:x?}"
    );
    // Side by side for the CPU and for the device, page for page the same.
    let mut edu = rig.edu_on(device);
    for page in 0..10 {
        memory
            .write(page * 512, 0x1111 * (page as u64 + 1))
            .unwrap();
    }
    for page in 0..9 {
        let (from, to) = (page * 512, (page + 1) * 512 + 1);
        try_read(&mut edu, memory.element_bus_addr(from).unwrap(), 8);
        try_write(&mut edu, memory.element_bus_addr(to).unwrap(), 8);
        assert_eq!(memory.read(to), Ok(0x1111 * (page as u64 + 1)));
    }
    memory.free().unwrap();
    drop((fragmented, edu));
    rig.finish();
}

#[test]
fn where_nothing_translates_frames_must_lie_in_a_row() {
    let rig = Rig::boot(little_memory_untranslated());
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let fragmented = Fragmented::of(rig.kernel);
    let refused = device.alloc_coherent::<u64>(2 * 512);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(BufferError::OutOfFrames(_)),
                ..
            })
        ),
        "{refused:?}"
    );
    device.alloc_coherent::<u64>(512).unwrap().free().unwrap();
    drop((fragmented, device));
    rig.finish();
}

#[test]
fn a_failure_is_logged_unless_the_caller_sees_to_it() {
    let rig = Rig::boot(MachineConfig::default());
    let device = rig.attach(EDU);
    let (refused, lines) = logged_by(|| device.alloc_coherent::<u8>(1 << 40));
    let error = refused.unwrap_err().to_string();
    assert!(
        matches!(&lines[..], [line] if line.contains(&error) && line.contains(&EDU.to_string())),
        "{lines:?}"
    );
    let (refused, lines) =
        logged_by(|| device.alloc_attrs::<u8>(1 << 40, CoherentOptions::NONE.no_warn()));
    assert!(refused.is_err());
    assert_eq!(lines, [""; 0]);
    let (refused, lines) = logged_by(|| device.alloc_opaque(1 << 40, CoherentOptions::NONE));
    assert!(refused.is_err());
    assert_eq!(lines.len(), 1);
    drop(device);
    rig.finish();
}

#[test]
fn coherent_memory_keeps_to_the_coherent_mask() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::ALL).unwrap();
    for bits in [14, 20, 28] {
        let mask = DmaMask::from_bits(bits).unwrap();
        device.set_coherent_mask(mask).unwrap();
        let memory = device.alloc_coherent::<u32>(1).unwrap();
        assert!(mask.covers(memory.range()), "{memory:?} and {mask}");
    }
    drop(device);
    rig.finish();
}

#[test]
fn with_large_pages_pieces_are_whole_pages() {
    let unit = SmmuConfig {
        granules: vec![stream::Granule::Size64K],
        ..SmmuConfig::default()
    };
    let iommu = Iommu::Smmu {
        unit,
        walks: Snooping::On,
    };
    let config = MachineConfig::default()
        .with_ram(32 << 20)
        .with_iommu(iommu);
    let units = Settings {
        granule: Some(Granule::SixtyFourKib),
        ..Settings::default()
    };
    let options = BootOptions {
        units,
        ..BootOptions::default()
    };
    let rig = Rig::boot_with(config, options);
    let device = rig.attach(EDU);
    assert_eq!(device.page_bytes(), 64 << 10);
    // Every second run of 64 KiB is somebody else's.
    let request = FrameRequest {
        align_log2: 16,
        ..FrameRequest::new(16)
    };
    let mut runs = Vec::new();
    while let Ok(run) = rig.kernel.allocate_frames(request) {
        runs.push(run);
    }
    let (kept, free): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .partition(|run| (run.start().as_u64() >> 16).is_multiple_of(2));
    for run in free {
        // SAFETY: nothing refers to it.
        unsafe { rig.kernel.free_frames(run) };
    }
    let memory = device.alloc_coherent::<u64>(3 * 8192 - 5).unwrap();
    assert_eq!(memory.bus_addr().as_u64() % (256 << 10), 0);
    assert_eq!(memory.range().len_bytes(), 192 << 10);
    let pieces: Vec<_> = (0..3)
        .map(|page| device.translate(memory.element_bus_addr(page * 8192).unwrap()))
        .map(|phys| phys.unwrap().as_u64())
        .collect();
    assert!(pieces.iter().all(|piece| piece.is_multiple_of(64 << 10)));
    assert!(
        pieces
            .windows(2)
            .all(|two| two[0].abs_diff(two[1]) > 64 << 10),
        "{pieces:x?}"
    );
    let list = device.alloc_noncontiguous(130 << 10, FromDevice).unwrap();
    assert_eq!(list.pieces().count(), 3);
    let pool = device
        .create_pool::<u64>("large", PoolLayout::of(16))
        .unwrap();
    let block = pool.zalloc(&device).unwrap();
    assert_eq!(pool.figures().free_blocks, 511);
    drop((memory, list, block));
    pool.destroy().unwrap();
    drop(device);
    for run in kept {
        // SAFETY: nothing refers to it.
        unsafe { rig.kernel.free_frames(run) };
    }
    rig.finish();
}

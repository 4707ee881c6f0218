//! Misuse of the layer without owners that compiles: refused by an error that says what, and nothing has changed.

use dmamap::addr::{BusAddr, BusRange, PhysRange};
use dmamap::device::{Coherence, Device};
use dmamap::iommu::RevokeError;
use dmamap::map::{AnyDirection, Attributes, Outside, RawSyncError};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::Iommu;
use machine::iommu::amd::AmdConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::VtdConfig;

use rig::{EDU, PAGE, Rig, amd, buffer_of, small, vtd};

const DIRECTION: AnyDirection = AnyDirection::ToDevice;

/// Tries to unmap, rightly or wrongly.
fn unmap(device: &Device<Hosted>, range: BusRange) -> Result<(), RevokeError> {
    // SAFETY: what breaks the contract must be refused; the memory stays lent until the test's end.
    let outcome = unsafe { device.unmap_phys(range, DIRECTION, Attributes::NONE) };
    outcome.map_err(|refused| {
        assert_eq!((refused.device, refused.range), (EDU, range));
        refused.error
    })
}

#[test]
fn part_of_a_mapping_or_more_than_one_is_not_unmapped() {
    let units = [
        vtd(VtdConfig::default()),
        amd(AmdConfig::default()),
        Iommu::Virtio {
            unit: VirtioConfig::default(),
        },
    ];
    for iommu in units {
        let rig = Rig::boot(small().with_iommu(iommu));
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, 8 * PAGE, 1);
        let memory = PhysRange::new(buffer.phys(0).unwrap(), 8 * PAGE).unwrap();
        let map = |offset, len| {
            // SAFETY: the buffer lives until the end, and nobody writes it.
            unsafe { device.map_phys(memory.slice(offset, len).unwrap(), DIRECTION) }.unwrap()
        };
        // Two mappings that are neighbours on the bus.
        let (one, two) = (map(0, 4 * PAGE), map(4 * PAGE, 4 * PAGE));
        let joined = BusRange::new(one.start().min(two.start()), 8 * PAGE).unwrap();
        let part = |offset, len| one.slice(offset, len).unwrap();
        for wrong in [part(0, PAGE), part(0, 3 * PAGE)] {
            let whole = RevokeError::NotWhole { mapping: one };
            assert_eq!(unmap(&device, wrong), Err(whole));
        }
        let refused = unmap(&device, joined).unwrap_err();
        assert!(matches!(refused, RevokeError::NotWhole { .. }), "{refused}");
        for nothing_there in [part(PAGE, PAGE), part(PAGE, 3 * PAGE)] {
            let refused = unmap(&device, nothing_there);
            assert_eq!(refused, Err(RevokeError::NotMapped));
        }
        assert_eq!(device.figures().live_mappings, 2);
        for (range, offset) in [(one, 0), (two, 4 * PAGE)] {
            let bus = range.start().checked_add(PAGE).unwrap();
            assert_eq!(device.translate(bus), buffer.phys(offset + PAGE));
        }
        unmap(&device, one).unwrap();
        // Twice.
        let again = unmap(&device, one);
        assert!(matches!(again, Err(RevokeError::NotMapped)), "{again:?}");
        assert_eq!(device.figures().unmaps, 1);
        unmap(&device, two).unwrap();
        drop(buffer);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_list_is_unmapped_by_all_that_was_told_of_it() {
    let rig = Rig::boot(small());
    // Trusted with whole frames: nothing is copied.
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let buffer = buffer_of(rig.kernel, 4 * PAGE, 1);
    let memory = PhysRange::new(buffer.phys(0).unwrap(), 4 * PAGE).unwrap();
    let pieces = [0, 1, 2].map(|n| memory.slice(n * PAGE, 100).unwrap());
    let mut told = [BusRange::new(BusAddr::new(0), 0).unwrap(); 3];
    // SAFETY: the buffer lives until the end, and nobody writes it.
    let used = unsafe { device.map_sg_raw(&pieces, &mut told, DIRECTION) }.unwrap();
    assert_eq!(used, 3);
    let unmap = |told: &[BusRange]| {
        // SAFETY: what breaks the contract must be refused.
        unsafe { device.unmap_sg_raw(&pieces, told, DIRECTION, Attributes::NONE) }
    };
    for wrong in [&told[..0], &told[..1], &told[..2], &told[1..], &told[2..]] {
        let refused = unmap(wrong).unwrap_err();
        assert!(
            matches!(
                refused.error,
                RevokeError::NotMapped | RevokeError::NotWhole { .. }
            ),
            "{refused}"
        );
    }
    let backwards: Vec<_> = told.iter().rev().copied().collect();
    assert!(unmap(&backwards).is_err());
    assert!(
        told.iter()
            .all(|one| device.translate(one.start()).is_some())
    );
    assert_eq!(device.figures().live_bytes, 300);
    unmap(&told).unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    assert_eq!(device.figures().live_bytes, 0);
    drop(buffer);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn raw_syncs_stay_inside_what_is_mapped() {
    let rig = Rig::boot(small());
    // SAFETY: the device makes no requests.
    unsafe { rig.system().set_coherence(EDU, Coherence::NotSnooped) };
    let device = rig.attach(EDU);
    let buffer = buffer_of(rig.kernel, 2 * PAGE, 1);
    let memory = PhysRange::new(buffer.phys(0).unwrap(), PAGE + 8).unwrap();
    let direction = AnyDirection::Bidirectional;
    // SAFETY: here and below: the buffer lives until the end, and nobody touches it.
    let range = unsafe { device.map_phys(memory, direction) }.unwrap();
    let whole_bytes = PAGE + 8;
    for (offset, len_bytes) in [(0, whole_bytes + 1), (whole_bytes, 1), (u64::MAX, 2)] {
        let error = Outside {
            offset,
            len_bytes,
            whole_bytes,
        };
        let expected = Err(RawSyncError::OutOfBounds { device: EDU, error });
        // SAFETY: as above.
        let (for_cpu, for_device) = unsafe {
            (
                device.sync_raw_range_for_cpu(range, offset, len_bytes, direction),
                device.sync_raw_range_for_device(range, offset, len_bytes, direction),
            )
        };
        assert_eq!((for_cpu, for_device), (expected, expected));
    }
    let before = device.figures();
    // SAFETY: as above.
    unsafe {
        device
            .sync_raw_range_for_cpu(range, PAGE - 4, 12, direction)
            .unwrap();
        device
            .sync_raw_range_for_device(range, 0, 64, direction)
            .unwrap();
    }
    let after = device.figures();
    assert_eq!(after.invalidated_bytes - before.invalidated_bytes, 12);
    assert_eq!(after.cleaned_bytes - before.cleaned_bytes, 64);
    // SAFETY: as above; and once more what is not mapped any more.
    let outcome = unsafe {
        device
            .unmap_phys(range, direction, Attributes::NONE)
            .unwrap();
        device.sync_raw_single_for_cpu(range, direction)
    };
    let bus = range.start();
    assert_eq!(outcome, Err(RawSyncError::NotMapped { device: EDU, bus }));
    drop(buffer);
    device.detach().unwrap();
    rig.finish();
}

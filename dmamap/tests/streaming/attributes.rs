//! What is asked of a mapping beside its direction.

use dmamap::addr::PhysRange;
use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::device::{Coherence, Device, Figures};
use dmamap::map::{
    AnyDirection, Attributes, Bidirectional, FromDevice, MapError, MapFailure, ToDevice,
};
use hosted::Hosted;
use machine::bus::Access;

use rig::kinds::kinds;
use rig::{EDU, PAGE, Rig, buffer_of, small};

/// A device that is taken for one that does not snoop. It makes no requests.
fn not_snooping(rig: &Rig) -> Device<Hosted> {
    // SAFETY: nothing depends on what a device that does nothing sees.
    unsafe { rig.system().set_coherence(EDU, Coherence::NotSnooped) };
    rig.attach(EDU)
}

fn list_of(buffer: DmaBuffer<Hosted>) -> ScatterList<DmaBuffer<Hosted>> {
    let mut list = ScatterList::with_room(1).unwrap();
    list.push(buffer).unwrap();
    list
}

/// Maps and unmaps a page by every call there is.
fn by_every_call(
    rig: &Rig,
    device: &Device<Hosted>,
    attributes: Attributes,
) -> Vec<Option<MapError>> {
    let page = || buffer_of(rig.kernel, PAGE, 1);
    let mut errors = Vec::new();
    let single = device.map_single_attrs(page(), Bidirectional, attributes);
    errors.push(
        single
            .map(|mapping| drop(mapping.unmap().unwrap()))
            .map_err(|refused| {
                assert!(refused.buffer.is_some());
                refused.error
            }),
    );
    let list = device.map_sg_attrs(page(), Bidirectional, attributes);
    errors.push(
        list.map(|mapping| drop(mapping.unmap().unwrap()))
            .map_err(|refused| {
                assert!(refused.buffer.is_some());
                refused.error
            }),
    );
    let table = device.map_sgtable_attrs(list_of(page()), Bidirectional, attributes);
    errors.push(
        table
            .map(|mapping| drop(mapping.unmap().unwrap()))
            .map_err(|refused| {
                assert!(refused.buffer.is_some());
                refused.error
            }),
    );
    let buffer = page();
    let first = buffer.phys(0).unwrap();
    let room = ScatterList::with_room(1).unwrap();
    let span = device.iova_try_alloc_attrs(first, PAGE, room, Bidirectional, attributes);
    errors.push(span.map_err(|refused| refused.error).map(|mut span| {
        span.link(buffer).unwrap();
        drop(span.sync().unwrap().destroy().unwrap());
    }));
    let (buffer, direction) = (page(), AnyDirection::Bidirectional);
    let memory = PhysRange::new(buffer.phys(0).unwrap(), PAGE).unwrap();
    // SAFETY: the buffer lives until the unmap, and nobody refers to its bytes.
    errors.push(unsafe {
        device
            .map_phys_attrs(memory, direction, attributes)
            .map(|range| device.unmap_phys(range, direction, attributes).unwrap())
    });
    // SAFETY: as above.
    let span = device.iova_try_alloc_raw(memory.start(), PAGE, direction, attributes);
    errors.push(span.map(|span| {
        let mut span = span.expect("the device is behind an IOMMU");
        // SAFETY: as above.
        unsafe {
            span.link(0, memory).unwrap();
            span.sync(0, PAGE).unwrap();
            span.unlink(0, PAGE).unwrap();
        }
        span.free().unwrap();
    }));
    errors.into_iter().map(Result::err).collect()
}

#[test]
fn what_must_be_coherent_is_refused_on_a_device_that_does_not_snoop() {
    let rig = Rig::boot(small());
    let asked = Attributes::NONE.require_coherent();
    let snooping = rig.attach(EDU);
    assert_eq!(by_every_call(&rig, &snooping, asked), [None; 6]);
    snooping.detach().unwrap();

    let device = not_snooping(&rig);
    for error in by_every_call(&rig, &device, asked) {
        let failure = MapFailure::NotCoherent;
        let found = error.map(|error| (error.device, error.failure));
        assert_eq!(found, Some((EDU, failure)));
    }
    assert_eq!(device.figures(), Figures::default(), "something was done");
    assert_eq!(rig.machine.audit().leaves, []);
    assert_eq!(by_every_call(&rig, &device, Attributes::NONE), [None; 6]);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn maintenance_is_skipped_where_that_is_asked_and_done_by_explicit_syncs() {
    let rig = Rig::boot(small());
    let device = not_snooping(&rig);
    let skip = Attributes::NONE.skip_cpu_sync();
    assert_eq!(by_every_call(&rig, &device, skip), [None; 6]);
    let figures = device.figures();
    assert_eq!((figures.cleaned_bytes, figures.invalidated_bytes), (0, 0));
    assert_eq!(by_every_call(&rig, &device, Attributes::NONE), [None; 6]);
    let figures = device.figures();
    assert_eq!(
        (figures.cleaned_bytes, figures.invalidated_bytes),
        (6 * PAGE, 6 * PAGE)
    );

    let page = || buffer_of(rig.kernel, PAGE, 1);
    let mut single = device
        .map_single_attrs(page(), Bidirectional, skip)
        .unwrap();
    let mut table = device
        .map_sgtable_attrs(list_of(page()), Bidirectional, skip)
        .unwrap();
    assert!(single.need_sync() && table.need_sync());
    assert!(device.need_sync_raw(single.range()));
    drop(single.sync_range_for_cpu(0, 64).unwrap());
    drop(table.sync_range_for_cpu(64, 128).unwrap());
    let after = device.figures();
    assert_eq!(after.cleaned_bytes, figures.cleaned_bytes + 192);
    assert_eq!(after.invalidated_bytes, figures.invalidated_bytes + 192);
    drop((single.unmap().unwrap(), table.unmap().unwrap()));
    assert_eq!(device.figures().invalidated_bytes, after.invalidated_bytes);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_device_that_snoops_needs_no_syncs() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let page = || buffer_of(rig.kernel, PAGE, 1);
    let mut single = device.map_single(page(), Bidirectional).unwrap();
    let table = device.map_sgtable(list_of(page()), Bidirectional).unwrap();
    assert!(!single.need_sync() && !table.need_sync());
    assert!(!device.need_sync_raw(single.range()));
    drop(single.sync_for_cpu());
    drop((single, table));
    let figures = device.figures();
    assert_eq!((figures.cleaned_bytes, figures.invalidated_bytes), (0, 0));
    device.detach().unwrap();
    rig.finish();
}

/// What a device read and wrote, and where it reached memory meanwhile.
struct RoundTrip {
    sent: Vec<u8>,
    arrived: Vec<u8>,
    reached: Vec<(u64, u64, Access)>,
}

/// Lets a device read and write through mappings with `attributes`.
fn round_trip(rig: &mut Rig, attributes: Attributes) -> RoundTrip {
    let device = rig.attach(EDU);
    let mut edu = rig.edu_on(device);
    let bytes: Vec<u8> = (0..64).collect();
    let mut buffer = buffer_of(rig.kernel, PAGE, 0);
    buffer.as_mut_slice()[..64].copy_from_slice(&bytes);
    let source = edu.device().map_single_attrs(buffer, ToDevice, attributes);
    let source = source.unwrap();
    let buffer = buffer_of(rig.kernel, PAGE, 0);
    let target = edu
        .device()
        .map_single_attrs(buffer, FromDevice, attributes);
    let target = target.unwrap();
    let leaves = rig.machine.audit().leaves;
    let reached = leaves
        .iter()
        .map(|leaf| (leaf.bus, leaf.len_bytes, leaf.access))
        .collect();
    // SAFETY: both mappings live.
    unsafe {
        edu.fetch_at(source.bus_addr(), 64).unwrap();
        edu.store_at(target.bus_addr(), 64).unwrap();
    }
    let arrived = target.unmap().unwrap().as_slice()[..64].to_vec();
    drop(source.unmap().unwrap());
    assert_eq!(rig.machine.audit().leaves, []);
    edu.stop().detach().unwrap();
    RoundTrip {
        sent: bytes,
        arrived,
        reached,
    }
}

#[test]
fn weakly_ordered_mappings_are_as_others() {
    for (name, iommu) in kinds() {
        let mut rig = Rig::boot(small().with_iommu(iommu));
        let weak = Attributes::NONE.weak_ordering();
        assert_ne!(weak, Attributes::NONE);
        let device = rig.attach(EDU);
        assert_eq!(by_every_call(&rig, &device, weak), [None; 6], "{name}");
        device.detach().unwrap();
        let weakly = round_trip(&mut rig, weak);
        assert_eq!(weakly.sent, weakly.arrived, "{name}");
        let otherwise = round_trip(&mut rig, Attributes::NONE);
        assert_eq!(weakly.reached, otherwise.reached, "{name}");
        rig.finish();
    }
}

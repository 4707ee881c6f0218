//! What is mapped for a device's privileged requests is out of reach of its others, where stage 1 translates.

use dmamap::addr::{BusAddr, PhysRange};
use dmamap::buffer::ScatterList;
use dmamap::iommu::fault::Access;
use dmamap::map::{AnyDirection, Attributes, Bidirectional, CoherentOptions, Permission, ToDevice};
use dmamap::system::{Protection, Stage};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::smmu::event::EventKind;
use journeys::boot::BootOptions;
use machine::iommu::smmu::SmmuConfig;
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use super::{STAGES, TEMPERS, staged, with};
use rig::kinds::kinds;
use rig::{EDU, PAGE, Rig, buffer_of, first_fault, small, try_read, try_write};

const PRIVILEGED: Attributes = Attributes::NONE.privileged();

fn machine(temper: Temper) -> MachineConfig {
    with(SmmuConfig::default()).with_temper(temper)
}

/// The same, with an educational device whose requests are privileged.
fn with_privileged_edu(temper: Temper) -> MachineConfig {
    machine(temper).with_privileged_device((EDU.id >> 3) as u8)
}

/// Whether the device reads and writes at `bus`; or neither.
fn reaches(rig: &Rig, edu: &mut Edu<Hosted>, bus: BusAddr) -> bool {
    let refused = |attempt: &mut dyn FnMut()| {
        let before = rig.system().faults().total;
        attempt();
        rig.system().faults().total - before
    };
    let reads = refused(&mut || try_read(edu, bus, 16));
    let writes = refused(&mut || try_write(edu, bus, 16));
    assert_eq!(reads, writes, "at {bus}");
    reads == 0
}

/// Maps memory by every call that takes attributes; asserts that the device reaches what is mapped for all its requests, and,
/// if it `is_privileged`, what is mapped for privileged ones.
fn by_every_call(rig: &Rig, edu: &mut Edu<Hosted>, is_privileged: bool) {
    let page = |n: u64| buffer_of(rig.kernel, n * PAGE, 0x5a);
    for (attributes, expected) in [(Attributes::NONE, true), (PRIVILEGED, is_privileged)] {
        let single = edu
            .device()
            .map_single_attrs(page(1), Bidirectional, attributes);
        let single = single.unwrap();
        assert_eq!(reaches(rig, edu, single.bus_addr()), expected, "map_single");
        drop(single.unmap().unwrap());

        let mut list = ScatterList::with_room(2).unwrap();
        list.push(page(1)).unwrap();
        list.push(page(2)).unwrap();
        let list = edu
            .device()
            .map_sgtable_attrs(list, Bidirectional, attributes);
        let list = list.unwrap();
        let last = list.segments().next().unwrap().last().align_down(12);
        assert_eq!(reaches(rig, edu, last), expected, "map_sgtable");
        drop(list.unmap().unwrap());

        let buffer = page(2);
        let first = buffer.phys(0).unwrap();
        let room = ScatterList::with_room(1).unwrap();
        let len_bytes = 2 * PAGE;
        let span =
            edu.device()
                .iova_try_alloc_attrs(first, len_bytes, room, Bidirectional, attributes);
        // Where a device is given copies alone there are no two steps.
        if let Ok(mut span) = span {
            span.link(buffer).unwrap();
            let span = span.sync().unwrap();
            assert_eq!(reaches(rig, edu, span.bus_addr()), expected, "two steps");
            drop(span.destroy().unwrap());
        }

        // A page that holds other memory too: the device is given a copy in a page of its own.
        let (buffer, direction) = (page(1), AnyDirection::Bidirectional);
        let part = PhysRange::new(buffer.phys(0).unwrap(), 100).unwrap();
        // SAFETY: the buffer lives until the unmap, and nobody refers to its bytes.
        unsafe {
            let range = edu.device().map_phys_attrs(part, direction, attributes);
            let range = range.unwrap();
            assert_eq!(reaches(rig, edu, range.start()), expected, "map_phys");
            let unmapped = edu.device().unmap_phys(range, direction, attributes);
            unmapped.unwrap();
        }
    }
    for (options, expected) in [
        (CoherentOptions::NONE, true),
        (CoherentOptions::NONE.privileged(), is_privileged),
    ] {
        let memory = edu.device().alloc_attrs::<u64>(512, options).unwrap();
        assert_eq!(reaches(rig, edu, memory.bus_addr()), expected, "coherent");
        memory.free().unwrap();
    }
}

fn attached(rig: &mut Rig, protection: Protection) -> Edu<Hosted> {
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, protection).unwrap();
    rig.edu_on(device)
}

#[test]
fn an_unprivileged_device_reaches_nothing_that_is_mapped_for_privileged_requests() {
    for temper in TEMPERS {
        for protection in [Protection::Strict, Protection::Deferred, Protection::Bounce] {
            let mut rig = Rig::boot_with(machine(temper), staged(Stage::First));
            let mut edu = attached(&mut rig, protection);
            assert!(edu.device().keeps_privilege());
            by_every_call(&rig, &mut edu, false);
            let fault = first_fault(rig.system(), EDU).expect("it was refused");
            let permission = u16::from(EventKind::Permission.code());
            assert_eq!(fault.reason.code, permission, "{fault}");
            assert_eq!(fault.access, Access::Read);
            drop(edu);
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_privileged_device_reaches_what_is_mapped_for_whomever() {
    for temper in TEMPERS {
        for protection in [Protection::Strict, Protection::Bounce] {
            let mut rig = Rig::boot_with(with_privileged_edu(temper), staged(Stage::First));
            let mut edu = attached(&mut rig, protection);
            by_every_call(&rig, &mut edu, true);
            drop(edu);
            rig.finish();
        }
    }
}

#[test]
fn permissions_hold_for_privileged_requests_too() {
    let mut rig = Rig::boot_with(with_privileged_edu(Temper::Keep), staged(Stage::First));
    let mut edu = rig.edu();
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = edu.device().map_single_attrs(buffer, ToDevice, PRIVILEGED);
    let mapping = mapping.unwrap();
    assert_eq!(
        edu.device().permission(mapping.bus_addr()),
        Some(Permission::Read)
    );
    try_read(&mut edu, mapping.bus_addr(), 16);
    assert_eq!(rig.system().faults().total, 0);
    try_write(&mut edu, mapping.bus_addr(), 16);
    let fault = first_fault(rig.system(), EDU).expect("it was refused");
    assert_eq!(fault.access, Access::Write);
    drop(mapping.unmap().unwrap());
    drop(edu);
    rig.finish_after_faults();
}

#[test]
fn where_tables_know_no_privilege_the_attribute_changes_nothing() {
    for stage in STAGES {
        for (name, iommu) in kinds() {
            let mut rig = match name {
                "smmu" => Rig::boot_with(machine(Temper::Keep), staged(Stage::Second)),
                "virtio" => Rig::boot(small().with_iommu(iommu)),
                // One format for all devices.
                "amd" | "vtd" => Rig::boot_with(small().with_iommu(iommu), BootOptions::default()),
                _ => Rig::boot_with(small().with_iommu(iommu), staged(stage)),
            };
            let mut edu = rig.edu();
            assert!(!edu.device().keeps_privilege(), "{name}");
            by_every_call(&rig, &mut edu, true);
            drop(edu);
            rig.finish();
        }
    }
    let mut rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = rig.attach_trusted(EDU, Protection::Identity);
    assert!(!device.keeps_privilege());
    let mut edu = rig.edu_on(device);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = edu
        .device()
        .map_single_attrs(buffer, Bidirectional, PRIVILEGED);
    assert!(reaches(&rig, &mut edu, mapping.unwrap().bus_addr()));
    drop(edu);
    rig.finish();
}

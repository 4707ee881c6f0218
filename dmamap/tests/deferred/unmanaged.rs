//! Domains whose bus addresses the caller chooses.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::iommu::DomainError;
use dmamap::map::{
    FromDevice, MapFailure, Mapping, NotUnmanaged, Permission, UnmanagedDomain, UnmanagedError,
};
use dmamap::system::Protection;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::temper::Temper;

use super::kinds::kinds;
use super::lend;
use rig::{EDU, PAGE, Rig, buffer_of, small};

fn range(bus: u64, len_bytes: u64) -> BusRange {
    BusRange::new(BusAddr::new(bus), len_bytes).unwrap()
}

/// Maps `buffer`, which outlives the domain.
fn map(
    domain: &UnmanagedDomain<hosted::Hosted>,
    bus: u64,
    buffer: &DmaBuffer<hosted::Hosted>,
    permission: Permission,
) -> Result<(), UnmanagedError> {
    // SAFETY: the tests keep the buffer until it is unmapped, and do not touch it meanwhile.
    unsafe { domain.map(BusAddr::new(bus), buffer.segment(0), permission) }
}

#[test]
fn memory_is_where_the_caller_says() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, 10);
        let domain = UnmanagedDomain::of(rig.attach(EDU)).unwrap();
        let buffer = buffer_of(rig.kernel, 4 * PAGE, 1);
        let phys = buffer.segment(0).start();
        for bus in [0x1000, 0x1234_5000, 0x7654_3000] {
            map(&domain, bus, &buffer, Permission::ReadWrite).unwrap();
            let found = domain.lookup(BusAddr::new(bus + PAGE + 5)).unwrap();
            assert_eq!(found.0.as_u64(), phys.as_u64() + PAGE + 5);
            assert!(found.1.reads() && found.1.writes());
            assert_eq!(domain.lookup(BusAddr::new(bus + 4 * PAGE)), None);
        }
        // Neither over another mapping nor in part of one.
        for bus in [0x1000, 0x4000, 0x7654_2000] {
            let error = map(&domain, bus, &buffer, Permission::Read).unwrap_err();
            assert!(
                matches!(error.error, DomainError::Iova(_)),
                "{bus:#x}: {error}"
            );
        }
        for wrong in [
            range(0x1000, PAGE),
            range(0x2000, 3 * PAGE),
            range(0x9000, PAGE),
        ] {
            let error = domain.unmap(wrong).unwrap_err();
            assert!(
                matches!(error.error, DomainError::Iova(_)),
                "{wrong}: {error}"
            );
        }
        assert!(domain.lookup(BusAddr::new(0x1000)).is_some());
        domain.unmap(range(0x1000, 4 * PAGE)).unwrap();
        assert_eq!(domain.lookup(BusAddr::new(0x1000)), None);
        map(&domain, 0x3000, &buffer, Permission::Read).unwrap();
        domain.detach().unwrap();
        drop(buffer);
        rig.finish();
    }
}

#[test]
fn what_is_unmapped_is_out_of_the_devices_reach() {
    let rig = Rig::boot(small());
    let domain = UnmanagedDomain::of(rig.attach(EDU)).unwrap();
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let unit = rig.unit(0);
    let reaches = || unit.translate(EDU.id, 0x5_0000, Access::Read).is_ok();
    assert!(!reaches());
    map(&domain, 0x5_0000, &buffer, Permission::Read).unwrap();
    assert!(reaches());
    domain.unmap(range(0x5_0000, PAGE)).unwrap();
    assert!(!reaches());
    domain.detach().unwrap();
    drop(buffer);
    rig.finish_after_faults();
}

#[test]
fn reserved_addresses_cannot_be_mapped() {
    let rig = Rig::boot(small());
    let domain = UnmanagedDomain::of(rig.attach(EDU)).unwrap();
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    // Page 0, and the window of interrupt messages.
    for bus in [0, 0xfee0_0000, 0xfeef_f000] {
        let error = map(&domain, bus, &buffer, Permission::Read).unwrap_err();
        assert!(
            matches!(error.error, DomainError::Iova(_)),
            "{bus:#x}: {error}"
        );
        assert_eq!(domain.lookup(BusAddr::new(bus)), None);
    }
    domain.detach().unwrap();
    drop(buffer);
    rig.finish();
}

#[test]
fn memory_that_was_retired_before_is_not_lent_again_in_a_domain_that_was_handed_over() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, 10);
        let device = rig.attach(EDU);
        let [one, list] = [1, 2].map(|tag| {
            let buffer = buffer_of(rig.kernel, PAGE, tag);
            let mapped = device.map_single(buffer, FromDevice);
            mapped.map_err(|rejected| rejected.error).unwrap()
        });
        let [one, list] = [one, list].map(Mapping::retire);
        // Settled: nothing of them is in the domain, and it is handed over.
        let domain = UnmanagedDomain::of(device).unwrap();
        assert!(one.is_settled() && list.is_settled());
        let refused = one.remap(FromDevice).unwrap_err();
        let handed_over = MapFailure::Domain(DomainError::HandedOver);
        assert_eq!(refused.error.failure, handed_over);
        let one = refused.retired.unwrap();
        let refused = list.remap_sg(FromDevice).unwrap_err();
        assert_eq!(refused.error.failure, handed_over);
        let list = refused.retired.unwrap();
        // The owner has all of the domain, the addresses they had as well, and they come back all the same.
        let buffer = buffer_of(rig.kernel, PAGE, 3);
        let bus = one.range().start().as_u64();
        map(&domain, bus, &buffer, Permission::Read).unwrap();
        drop([one.finish().unwrap(), list.finish().unwrap()]);
        assert!(domain.lookup(BusAddr::new(bus)).is_some());
        domain.detach().unwrap();
        drop(buffer);
        rig.finish();
    }
}

#[test]
fn only_an_empty_domain_of_a_translated_device_is_handed_over() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let lent = lend(&device, 1);
    let refused = UnmanagedDomain::of(device).unwrap_err();
    let live = 1;
    assert_eq!(refused.reason, NotUnmanaged::Mapped { device: EDU, live });
    drop(lent);
    UnmanagedDomain::of(refused.device)
        .unwrap()
        .detach()
        .unwrap();
    let device = rig.attach_trusted(EDU, Protection::Blocked);
    let refused = UnmanagedDomain::of(device).unwrap_err();
    assert_eq!(refused.reason, NotUnmanaged::NotTranslated { device: EDU });
    refused.device.detach().unwrap();
    rig.finish();
}

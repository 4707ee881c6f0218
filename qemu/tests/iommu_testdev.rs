//! QEMU's IOMMU test device, driven: what it says is what the IOMMU did.

mod support;

use dmamap::addr::PhysAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::Requester;
use dmamap::iommu::fault::{Access, Fault};
use dmamap::map::{FromDevice, ToDevice};
use drivers::iommu_testdev::{IommuTestdevError, MAX_WRITE_BYTES, Verdict};
use hosted::Hosted;
use hw::iommu_testdev::PATTERN;
use qemu::QemuConfig;
use support::{Rig, start_testdev};

const LEN: u64 = 256;

/// The boards with an IOMMU that has a driver.
const TRANSLATED: [&str; 1] = ["q35-vtd"];

/// The boards without.
const DIRECT: [&str; 3] = ["q35", "arm", "riscv"];

fn buffer(rig: &Rig) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(rig.hosted, 4096).expect("there is memory")
}

fn is_pattern(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(PATTERN.to_le_bytes().iter().cycle())
        .all(|(found, wanted)| found == wanted)
}

/// That `total` faults are known, one of them `device`'s. Read after each attempt: QEMU's VT-d records one at a time.
fn assert_reported(rig: &Rig, device: Requester, total: u64) {
    let faults = rig.computer.system().faults();
    let of_device = |fault: &&Fault| fault.requester == device;
    let fault = faults.first_per_requester.iter().find(of_device);
    assert_eq!(
        (faults.total, fault.map(|fault| fault.access)),
        (total, Some(Access::Write))
    );
}

#[test]
fn the_pattern_arrives_in_mapped_memory() {
    for board in TRANSLATED.into_iter().chain(DIRECT) {
        let Some(mut rig) = Rig::boot(board, |config| config.with_iommu_testdevs(1)) else {
            return;
        };
        let mut testdev = start_testdev(&mut rig, 0);
        let mapping = testdev
            .device()
            .map_single(buffer(&rig), FromDevice)
            .expect("it maps");
        assert_eq!(
            testdev.write(&mapping, 512, LEN).unwrap(),
            Verdict::Arrived,
            "{board}"
        );
        let buffer = mapping.unmap().expect("it unmaps");
        let bytes = buffer.as_slice();
        assert!(is_pattern(&bytes[512..512 + LEN as usize]), "{board}");
        assert!(
            bytes[..512]
                .iter()
                .chain(&bytes[512 + LEN as usize..])
                .all(|&byte| byte == 0)
        );
        drop(buffer);
        testdev.stop().detach().expect("it is detached");
        rig.finish();
    }
}

#[test]
fn a_write_to_other_memory_is_told_from_one_that_arrived() {
    let Some(mut rig) = Rig::boot("q35", |config| config.with_iommu_testdevs(1)) else {
        return;
    };
    let mut testdev = start_testdev(&mut rig, 0);
    let mapping = testdev
        .device()
        .map_single(buffer(&rig), FromDevice)
        .expect("it maps");
    let other_buffer = buffer(&rig);
    let other = other_buffer.phys(0).expect("it has a first byte");
    let bus = mapping.bus_addr();
    // SAFETY: the device may write at `bus`, where a mapping of its own is.
    let verdict = unsafe { testdev.write_at(bus, other, LEN) };
    assert_eq!(verdict, Ok(Verdict::Elsewhere));
    drop((other_buffer, mapping));
    testdev.stop().detach().expect("it is detached");
    rig.finish();
}

#[test]
fn what_is_not_mapped_is_refused_and_reported() {
    for board in TRANSLATED {
        let with = |config: QemuConfig| config.with_iommu_testdevs(2);
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        let (mut first, mut second) = (start_testdev(&mut rig, 0), start_testdev(&mut rig, 1));
        let lent = first
            .device()
            .map_single(buffer(&rig), FromDevice)
            .expect("it maps");
        let (bus, phys) = (lent.bus_addr(), lent.phys().start());

        // SAFETY: both devices are confined.
        let neighbour = unsafe { second.write_at(bus, phys, LEN) };
        assert_eq!(
            neighbour,
            Ok(Verdict::Refused),
            "{board}: another device's mapping"
        );
        assert_reported(&rig, second.device().requester(), 1);
        assert_eq!(
            second.write(&lent, 0, LEN),
            Err(IommuTestdevError::ForeignMapping {
                device: second.device().requester(),
                owner: first.device().requester(),
            })
        );
        assert_eq!(first.write(&lent, 0, LEN), Ok(Verdict::Arrived));
        assert!(is_pattern(
            &lent.unmap().expect("it unmaps").as_slice()[..LEN as usize]
        ));

        // SAFETY: as above.
        let after = unsafe { first.write_at(bus, phys, LEN) };
        assert_eq!(after, Ok(Verdict::Refused), "{board}: after unmap");
        assert_reported(&rig, first.device().requester(), 2);

        let read_only = first
            .device()
            .map_single(buffer(&rig), ToDevice)
            .expect("it maps");
        let (bus, phys) = (read_only.bus_addr(), read_only.phys().start());
        // SAFETY: as above.
        let write = unsafe { first.write_at(bus, phys, LEN) };
        assert_eq!(write, Ok(Verdict::Refused), "{board}: a mapping to be read");
        assert_reported(&rig, first.device().requester(), 3);
        assert!(
            read_only
                .unmap()
                .expect("it unmaps")
                .as_slice()
                .iter()
                .all(|&byte| byte == 0)
        );

        first.stop().detach().expect("it is detached");
        second.stop().detach().expect("it is detached");
        rig.finish_after_faults();
    }
}

#[test]
fn lengths_the_device_cannot_do_are_refused_by_the_driver() {
    let Some(mut rig) = Rig::boot("q35", |config| config.with_iommu_testdevs(1)) else {
        return;
    };
    let mut testdev = start_testdev(&mut rig, 0);
    let mapping = testdev
        .device()
        .map_single(buffer(&rig), FromDevice)
        .expect("it maps");
    assert_eq!(
        testdev.write(&mapping, 0, 0),
        Err(IommuTestdevError::Length { len_bytes: 0 })
    );
    let past = testdev.write(&mapping, 1, 4096);
    assert!(
        matches!(past, Err(IommuTestdevError::OutOfMapping { offset: 1, .. })),
        "{past:?}"
    );
    let len_bytes = MAX_WRITE_BYTES + 1;
    // SAFETY: nothing is written.
    let long = unsafe { testdev.write_at(mapping.bus_addr(), PhysAddr::new(0), len_bytes) };
    assert_eq!(long, Err(IommuTestdevError::Length { len_bytes }));
    mapping.unmap().expect("it unmaps");
    testdev.stop().detach().expect("it is detached");
    rig.finish();
}

//! The event log: what the unit refuses is told, however much it is, and the telling never stands in the way.

use board::hardware::{Hardware, Width};
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::Access;
use dmamap::map::ToDevice;
use hw::amd::regs::{self, RingBase, RingPointer, Status};
use machine::MachineConfig;
use machine::iommu::Unit;
use machine::iommu::amd::{AmdConfig, AmdUnit, EventInterrupt};

use rig::patience::wait_until;
use rig::storm::{refuse, storm, the_log_is_bounded};
use rig::{self, AMD_UNIT, EDU, PAGE, Rig, first_fault, small, try_read, try_write};

fn config(event_interrupt: EventInterrupt) -> MachineConfig {
    small().with_iommu(rig::amd(AmdConfig {
        event_interrupt,
        ..AmdConfig::default()
    }))
}

fn polled() -> MachineConfig {
    config(EventInterrupt::ConfigurationSpaceOnly)
}

fn status(unit: &AmdUnit) -> Status {
    Status::from_bits(unit.read_register(regs::STATUS, Width::Qword))
}

fn pointer(unit: &AmdUnit, register: u64) -> u64 {
    RingPointer::from_bits(unit.read_register(register, Width::Qword)).offset()
}

#[test]
fn a_fault_says_who_where_how_and_why() {
    for access in [Access::Write, Access::Read] {
        let mut rig = Rig::boot(polled());
        let mut edu = rig.edu();
        let bus = BusAddr::new(0x0123_4000);
        match access {
            Access::Write => try_write(&mut edu, bus, 16),
            Access::Read | Access::Unknown => try_read(&mut edu, bus, 16),
        }
        let fault = first_fault(rig.system(), EDU).expect("it was refused");
        assert_eq!((fault.unit, fault.requester), (AMD_UNIT, EDU));
        assert_eq!((fault.address, fault.access), (bus, access));
        let text = fault.to_string();
        for part in [
            "0000:00:03.0",
            &access.to_string(),
            "0x1234000",
            "page not present",
            "(reason 0x2)",
        ] {
            assert!(text.contains(part), "{text}");
        }
        edu.stop().detach().unwrap();
        rig.finish_after_faults();
    }
}

#[test]
fn devices_that_nobody_attached_are_refused_and_told() {
    let rig = Rig::boot(polled());
    let unit: &AmdUnit = rig.amd_unit();
    for device in [0, 0x0018, 0x0100, 0xffff] {
        for bus in [0, PAGE, 1 << 20, 0x7fff_f000, 1 << 38, u64::MAX - PAGE + 1] {
            refuse(unit, device, bus);
        }
    }
    let faults = rig.system().faults();
    assert_eq!((faults.total, faults.overflows), (24, 0));
    for fault in faults.first_per_requester {
        assert_eq!(fault.reason.text, "I/O page fault: access not permitted");
        assert_eq!(fault.access, Access::Write);
    }
    rig.finish_after_faults();
}

#[test]
fn addresses_of_hypertransport_are_told_as_such() {
    let rig = Rig::boot(polled());
    refuse(&**rig.amd_unit(), EDU.id, 0xfd_1234_5678);
    let fault = first_fault(rig.system(), EDU).expect("it was refused");
    assert_eq!(fault.address.as_u64(), 0xfd_1234_5000);
    assert_eq!(
        (fault.reason.code, fault.reason.text),
        (8, "invalid device request")
    );
    rig.finish_after_faults();
}

#[test]
fn the_log_is_bounded_however_many_requesters_fault() {
    let rig = Rig::boot(polled());
    let unit = rig.amd_unit().clone();
    the_log_is_bounded(rig, &*unit);
}

#[test]
fn an_overflow_is_reported_and_the_log_goes_on() {
    let rig = Rig::boot(polled());
    let unit: &AmdUnit = rig.amd_unit();
    for round in 0..3 {
        for n in 0..300_u64 {
            refuse(unit, 0x0200, (n + 1) * PAGE);
        }
        assert!(status(unit).eventoverflow());
        let faults = rig.system().faults();
        // The ring has 256 entries, one of which always stays free.
        assert_eq!(
            (faults.total, faults.overflows),
            (256 * round + 255, round + 1)
        );
        assert_eq!(faults.first_per_requester[0].address, BusAddr::new(PAGE));
        refuse(unit, 0x0200, PAGE);
        assert_eq!(rig.system().faults().total, 256 * (round + 1));
        assert!(!status(unit).eventoverflow() && status(unit).eventlogrun());
    }
    rig.finish_after_faults();
}

#[test]
fn faults_are_read_though_nobody_asks() {
    for interrupt in [EventInterrupt::MsiRegisters, EventInterrupt::IntCapXt] {
        let rig = Rig::boot(config(interrupt));
        let unit: &AmdUnit = rig.amd_unit();
        for n in 1..=50 {
            refuse(unit, 0x0018, n * PAGE);
            wait_until("the fault is read", || {
                pointer(unit, regs::EVENT_HEAD) == pointer(unit, regs::EVENT_TAIL)
            });
        }
        let faults = rig.system().faults();
        assert_eq!((faults.total, faults.overflows), (50, 0));
        rig.finish_after_faults();
    }
}

#[test]
fn drivers_work_on_through_a_storm_of_faults() {
    let mut rig = Rig::boot(config(EventInterrupt::MsiRegisters));
    let edu = rig.edu();
    let unit: &AmdUnit = rig.amd_unit();
    storm(unit, 2, || {
        let buffer = DmaBuffer::allocate(rig.kernel, 2 * PAGE).unwrap();
        drop(edu.device().map_single(buffer, ToDevice).unwrap());
    });
    rig.system().service_faults();
    // Whatever was lost, the log goes on.
    wait_until("the log goes on", || {
        rig.system().service_faults();
        pointer(unit, regs::EVENT_HEAD) == pointer(unit, regs::EVENT_TAIL)
            && status(unit).eventlogrun()
    });
    let (statistics, faults) = (unit.statistics(), rig.system().faults());
    assert_eq!(faults.total, statistics.events_logged);
    assert!(statistics.events_lost == 0 || faults.overflows > 0);
    edu.stop().detach().unwrap();
    rig.finish_after_faults();
}

#[test]
fn an_entry_that_is_never_written_does_not_keep_later_ones_from_being_told() {
    let rig = Rig::boot(polled());
    let unit: &AmdUnit = rig.amd_unit();
    refuse(unit, 0x0200, PAGE);
    // The unit counts an event that memory never shows.
    let base = RingBase::from_bits(unit.read_register(regs::EVENT_LOG_BASE, Width::Qword)).base();
    for word in [base, base + 8] {
        rig.machine.ram().store_u64(word, 0).unwrap();
    }
    rig.system().service_faults();
    assert_eq!(pointer(unit, regs::EVENT_HEAD), 0, "it may still come");
    refuse(unit, 0x0300, PAGE);
    for _ in 0..200 {
        rig.system().service_faults();
    }
    let faults = rig.system().faults();
    assert_eq!(faults.total, 1);
    assert_eq!(faults.first_per_requester[0].requester.id, 0x0300);
    rig.finish_after_faults();
}

#[test]
fn an_entry_of_the_lap_before_is_not_taken_for_a_new_one() {
    let rig = Rig::boot(polled());
    let unit: &AmdUnit = rig.amd_unit();
    // Around the ring of 256.
    for _ in 0..256 {
        refuse(unit, 0x0200, PAGE);
        rig.system().service_faults();
    }
    for (n, requester) in (0x0300..0x0308).enumerate() {
        unit.hold_events();
        refuse(unit, requester, PAGE);
        rig.system().service_faults();
        let told = rig.system().faults().total;
        assert_eq!(
            told,
            256 + n as u64,
            "told of what memory does not show yet"
        );
        unit.release_events();
        wait_until("the fault is read", || {
            rig.system().service_faults();
            rig.system().faults().total > told
        });
    }
    let faults = rig.system().faults();
    assert_eq!((faults.total, faults.overflows), (264, 0));
    let first = faults.first_per_requester.iter();
    let first: Vec<u16> = first.map(|one| one.requester.id).collect();
    let expected: Vec<u16> = std::iter::once(0x0200).chain(0x0300..0x0308).collect();
    assert_eq!(first, expected);
    rig.finish_after_faults();
}

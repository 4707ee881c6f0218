//! What units refuse is told, however much it is, and the telling never stands in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use board::hardware::Width;
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::Access;
use dmamap::map::{FromDevice, ToDevice};
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use hw::vtd::regs::{self, Cap, FaultStatus};
use journeys::boot::BootOptions;
use machine::bus::Access as BusAccess;
use machine::iommu::Unit;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::{FaultCollapse, VtdConfig, VtdUnit};
use machine::{Machine, MachineConfig};
use rig::observed::{Observed, Touch};
use rig::patience::{StopOnDrop, wait_until};
use rig::storm::{assert_counted, refuse, storm, the_log_is_bounded};
use rig::{EDU, PAGE, Rig, UNITS, first_fault, small, try_read, try_write};

/// Units with so many fault records, in which no fault stands for another.
fn recording(fault_records: u32) -> MachineConfig {
    let unit = VtdConfig {
        fault_records,
        fault_collapse: FaultCollapse::Never,
        ..VtdConfig::default()
    };
    small().with_iommu(rig::vtd(unit))
}

fn status(unit: &VtdUnit) -> FaultStatus {
    FaultStatus::from_bits(unit.read_register(regs::FSTS_REG, Width::Dword) as u32)
}

#[test]
fn a_fault_says_who_where_how_and_why() {
    for (access, reason) in [
        (Access::Write, FaultReason::WriteNotPermitted),
        (Access::Read, FaultReason::ReadNotPermitted),
    ] {
        let mut rig = Rig::boot(small());
        let mut edu = rig.edu();
        let bus = BusAddr::new(0x0123_4000);
        match access {
            Access::Write => try_write(&mut edu, bus, 16),
            Access::Read | Access::Unknown => try_read(&mut edu, bus, 16),
        }
        let fault = first_fault(rig.system(), EDU).expect("it was refused");
        assert_eq!((fault.unit, fault.requester), (UNITS[0], EDU));
        assert_eq!((fault.address, fault.access), (bus, access));
        assert_eq!(fault.reason.code, u16::from(reason.code()));
        let text = fault.to_string();
        let code = format!("(reason {:#x})", reason.code());
        for part in [
            "0000:00:03.0",
            &access.to_string(),
            "0x1234000",
            reason.text(),
            &code,
        ] {
            assert!(text.contains(part), "{text}");
        }
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn each_requesters_first_fault_is_kept_and_the_others_counted() {
    let rig = Rig::boot(recording(8));
    let unit: &VtdUnit = rig.unit(0);
    for round in 0..20_u64 {
        for requester in [0x0018, 0x0100, 0x4200] {
            refuse(unit, requester, (round + 1) * PAGE);
            let _ = rig.system().faults();
        }
    }
    let faults = rig.system().faults();
    assert_eq!((faults.total, faults.overflows), (60, 0));
    let first: Vec<_> = faults
        .first_per_requester
        .iter()
        .map(|one| (one.requester.id, one.address))
        .collect();
    let page = BusAddr::new(PAGE);
    assert_eq!(first, [(0x0018, page), (0x0100, page), (0x4200, page)]);
    rig.finish_after_faults();
}

#[test]
fn the_log_is_bounded_however_many_requesters_fault() {
    let rig = Rig::boot(recording(8));
    let unit = rig.unit(0).clone();
    the_log_is_bounded(rig, &*unit);
}

#[test]
fn an_overflow_is_reported_and_cleared() {
    for records in [1, 2, 8] {
        let rig = Rig::boot(recording(records));
        let unit: &VtdUnit = rig.unit(0);
        // Nobody reads the records meanwhile: the interrupt is masked.
        mask_fault_event(unit);
        for n in 0..records + 5 {
            refuse(unit, 0x0200, u64::from(n + 1) * PAGE);
        }
        assert!(status(unit).pfo());
        let faults = rig.system().faults();
        assert_eq!((faults.total, faults.overflows), (records.into(), 1));
        assert_eq!(faults.first_per_requester[0].address, BusAddr::new(PAGE));
        // From then on faults are recorded again, in whatever record comes next.
        for n in 0..3 * u64::from(records) {
            refuse(unit, 0x0200, (n + 1) * PAGE);
            let faults = rig.system().faults();
            assert_eq!(
                (faults.total, faults.overflows),
                (u64::from(records) + n + 1, 1)
            );
        }
        assert!(!status(unit).pfo() && !status(unit).ppf());
        rig.finish_after_faults();
    }
}

fn mask_fault_event(unit: &VtdUnit) {
    unit.write_register(regs::FECTL_REG, Width::Dword, 1 << 31);
}

#[test]
fn faults_are_read_though_nobody_asks() {
    let rig = Rig::boot(recording(1));
    let unit: &VtdUnit = rig.unit(0);
    for n in 1..=50 {
        refuse(unit, 0x0018, n * PAGE);
        wait_until("the fault is read", || !status(unit).ppf());
    }
    let faults = rig.system().faults();
    assert_eq!((faults.total, faults.overflows), (50, 0));
    rig.finish_after_faults();
}

#[test]
fn every_fault_of_a_storm_is_counted_or_known_to_be_lost() {
    for records in [1, 8, 222] {
        let mut rig = Rig::boot(recording(records));
        let edu = rig.edu();
        let unit: &VtdUnit = rig.unit(0);
        // Drivers work on meanwhile.
        storm(unit, 3, || {
            let device = edu.device();
            let buffer = DmaBuffer::allocate(rig.kernel, 2 * PAGE).unwrap();
            drop(
                device
                    .map_single(buffer, ToDevice)
                    .unwrap()
                    .unmap()
                    .unwrap(),
            );
            let _ = rig.system().faults();
        });
        wait_until_read(unit);
        let faults = rig.system().faults();
        let told = unit.statistics();
        assert_counted(&faults, told.faults_recorded, told.faults_lost, told.faults);
        // After the storm the unit tells of every fault again.
        refuse(unit, 0x0018, 7 * PAGE);
        assert_eq!(rig.system().faults().total, faults.total + 1);
        drop(edu);
        rig.finish_after_faults();
    }
}

fn wait_until_read(unit: &VtdUnit) {
    wait_until("the records are read", || {
        !status(unit).ppf() && !status(unit).pfo()
    });
}

#[test]
fn records_that_are_filled_while_others_are_read_are_not_passed_over() {
    // The unit says where the first pending fault is only when there was none before. Here it never runs dry
    // between the second and the last fault, and the reading begins anew in the middle.
    let to_come = Arc::new(AtomicUsize::new(0));
    let arriving = to_come.clone();
    let observer = move |machine: &Machine, touch| {
        let Touch::Wrote { phys, .. } = touch else {
            return;
        };
        let unit: &VtdUnit = machine.vtd_units().next().unwrap();
        let cap = Cap::from_bits(unit.read_register(regs::CAP_REG, Width::Qword));
        let cleared = (0..3).any(|n| phys == UNITS[0].as_u64() + regs::fault_record(cap, n) + 8);
        if cleared {
            let now = match arriving.load(Ordering::Relaxed) {
                3 => 2,
                1 => 1,
                _ => 0,
            };
            for _ in 0..now {
                let left = arriving.fetch_sub(1, Ordering::Relaxed);
                refuse(unit, 0x0018, left as u64 * PAGE);
            }
        }
    };
    let machine = Machine::boot(recording(3)).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    let unit: &VtdUnit = rig.unit(0);
    mask_fault_event(unit);
    to_come.store(3, Ordering::Relaxed);
    refuse(unit, 0x0018, 4 * PAGE);
    assert_eq!(rig.system().faults().total, 4);
    assert_eq!(to_come.load(Ordering::Relaxed), 0);
    assert!(!status(unit).ppf());
    rig.finish_after_faults();
}

#[test]
fn faults_are_read_where_the_unit_records_them_though_somebody_else_cleared_some() {
    let rig = Rig::boot(recording(8));
    let unit: &VtdUnit = rig.unit(0);
    mask_fault_event(unit);
    refuse(unit, 0x0018, PAGE);
    assert_eq!(rig.system().faults().total, 1);
    refuse(unit, 0x0018, 2 * PAGE);
    let cap = Cap::from_bits(unit.read_register(regs::CAP_REG, Width::Qword));
    unit.write_register(regs::fault_record(cap, 1) + 8, Width::Qword, 1 << 63);
    assert!(!status(unit).ppf());
    refuse(unit, 0x0018, 3 * PAGE);
    assert_eq!(rig.system().faults().total, 2);
    assert!(!status(unit).ppf());
    rig.finish_after_faults();
}

#[test]
fn units_stop_in_a_storm_and_give_everything_back() {
    for _ in 0..10 {
        let rig = Rig::boot(recording(2));
        let unit = rig.unit(0).clone();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0_u16;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_add(1);
                    // Refused until translation is off.
                    let _ =
                        unit.translate(0x4000 | (n % 64), u64::from(n) * PAGE, BusAccess::Write);
                }
            });
            let _stop = StopOnDrop(&stop);
            thread::sleep(Duration::from_millis(3));
            rig.assert_no_findings();
            // SAFETY: the requests come from the test, not from a device.
            unsafe { rig.system().shutdown() }.unwrap();
        });
        rig.finish_after_faults();
    }
}

#[test]
fn a_fault_of_a_mapped_device_does_not_disturb_its_mappings() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let target = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let target = edu.device().map_single(target, FromDevice).unwrap();
    for n in 0..100 {
        try_write(&mut edu, BusAddr::new(0x0400_0000 + n * PAGE), 32);
        edu.store(&target, n * 32 % PAGE, 32).unwrap();
    }
    assert_eq!(rig.system().faults().first_per_requester.len(), 1);
    drop((target, edu));
    rig.finish_after_faults();
}

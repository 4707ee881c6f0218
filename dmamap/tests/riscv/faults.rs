//! What a RISC-V IOMMU refuses is told, however much it is, and the telling never stands in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use board::hardware::Width;
use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::{Access, FIRST_FAULTS};
use dmamap::map::ToDevice;
use hosted::Hosted;
use hw::riscv::regs::{self, FaultQueueControl, InterruptGeneration};
use journeys::boot::BootOptions;
use machine::Machine;
use machine::bus::Access as BusAccess;
use machine::iommu::Unit;
use machine::iommu::riscv::{RiscvConfig, RiscvUnit};
use machine::iommu::translator::Translator;
use rig::observed::{Observed, Touch};
use rig::patience::{StopOnDrop, wait_until};
use rig::riscv::{UNIT, unit, with};
use rig::storm::{assert_counted, refuse, storm};
use rig::{EDU, PAGE, Rig, first_fault, try_read, try_write};

/// Records of the driver's queue, of which one stays free.
const RECORDS: u64 = 128;

fn silent() -> RiscvConfig {
    RiscvConfig {
        interrupts: InterruptGeneration::Wsi,
        ..RiscvConfig::default()
    }
}

fn is_read(unit: &RiscvUnit) -> bool {
    let index = |register| unit.read_register(register, Width::Dword);
    let control = FaultQueueControl::from_bits(index(regs::FQCSR) as u32);
    index(regs::FQH) == index(regs::FQT) && !control.fqof()
}

fn wait_until_read(unit: &RiscvUnit) {
    wait_until("the records are read", || is_read(unit));
}

#[test]
fn a_fault_says_who_where_how_and_why() {
    for (access, code, reason) in [
        (Access::Write, 15, "write/AMO page fault"),
        (Access::Read, 13, "read page fault"),
    ] {
        let mut rig = Rig::boot(with(RiscvConfig::default()));
        let mut edu = rig.edu();
        let bus = BusAddr::new(0x0123_4000);
        match access {
            Access::Write => try_write(&mut edu, bus, 16),
            Access::Read => try_read(&mut edu, bus, 16),
            Access::Unknown => unreachable!("a device reads or writes"),
        }
        let fault = first_fault(rig.system(), EDU).expect("it was refused");
        assert_eq!((fault.unit, fault.requester), (UNIT, EDU));
        assert_eq!((fault.address, fault.access), (bus, access));
        assert_eq!((fault.reason.code, fault.reason.text), (code, reason));
        let text = fault.to_string();
        for part in ["0000:00:03.0", &access.to_string(), "0x1234000", reason] {
            assert!(text.contains(part), "{text}");
        }
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn a_device_that_is_not_attached_is_told_by_its_context() {
    let rig = Rig::boot(with(RiscvConfig::default()));
    for (requester, access) in [(0x0018, BusAccess::Read), (0x4321, BusAccess::Write)] {
        let refused = unit(&rig).translate(requester, 0x5678, access).map(drop);
        assert_eq!(refused.unwrap_err().reason, 258);
    }
    let faults = rig.system().faults().first_per_requester;
    let told: Vec<_> = faults
        .iter()
        .map(|one| (one.requester.id, one.access, one.address, one.reason.text))
        .collect();
    let page = BusAddr::new(0x5000);
    assert_eq!(
        told,
        [
            (0x0018, Access::Read, page, "DDT entry not valid"),
            (0x4321, Access::Write, page, "DDT entry not valid"),
        ]
    );
    rig.finish_after_faults();
}

#[test]
fn each_requesters_first_fault_is_kept_and_the_log_is_bounded() {
    let rig = Rig::boot(with(RiscvConfig::default()));
    let unit: &RiscvUnit = unit(&rig);
    for round in 1..=3 {
        for requester in 0..2 * FIRST_FAULTS as u16 {
            refuse(unit, requester, round * PAGE);
            rig.system().service_faults();
        }
    }
    let faults = rig.system().faults();
    assert_eq!(
        (faults.total, faults.overflows),
        (6 * FIRST_FAULTS as u64, 0)
    );
    let first: Vec<_> = faults
        .first_per_requester
        .iter()
        .map(|one| (one.requester.id, one.address))
        .collect();
    let expected: Vec<_> = (0..FIRST_FAULTS as u16)
        .map(|id| (id, BusAddr::new(PAGE)))
        .collect();
    assert_eq!(first, expected);
    rig.finish_after_faults();
}

#[test]
fn an_overflow_is_reported_and_cleared() {
    // Wires lead nowhere: nobody reads the records before they are asked for.
    let rig = Rig::boot(with(silent()));
    let unit: &RiscvUnit = unit(&rig);
    for n in 1..=RECORDS + 5 {
        refuse(unit, 0x0200, n * PAGE);
    }
    let faults = rig.system().faults();
    assert_eq!((faults.total, faults.overflows), (RECORDS - 1, 1));
    assert_eq!(faults.first_per_requester[0].address, BusAddr::new(PAGE));
    // From then on faults are recorded again, around the queue.
    for n in 0..3 * RECORDS {
        refuse(unit, 0x0200, (n + 1) * PAGE);
        let faults = rig.system().faults();
        assert_eq!((faults.total, faults.overflows), (RECORDS + n, 1));
    }
    assert!(is_read(unit));
    rig.finish_after_faults();
}

#[test]
fn faults_are_read_though_nobody_asks() {
    for interrupts in [InterruptGeneration::Msi, InterruptGeneration::Both] {
        let config = RiscvConfig {
            interrupts,
            ..RiscvConfig::default()
        };
        let rig = Rig::boot(with(config));
        let unit: &RiscvUnit = unit(&rig);
        for n in 1..=50 {
            refuse(unit, 0x0018, n * PAGE);
            wait_until_read(unit);
        }
        let faults = rig.system().faults();
        assert_eq!((faults.total, faults.overflows), (50, 0));
        // SAFETY: every device is idle.
        unsafe { rig.system().restart_units() }.unwrap();
        refuse(unit, 0x0018, PAGE);
        wait_until_read(unit);
        assert_eq!(rig.system().faults().total, 51);
        rig.finish_after_faults();
    }
}

#[test]
fn a_record_that_comes_while_others_are_read_is_not_passed_over() {
    // It comes between the last look at the queue and the end of the reading: then it must raise an interrupt.
    let to_come = Arc::new(AtomicUsize::new(0));
    let arriving = to_come.clone();
    let observer = move |machine: &Machine, touch| {
        let Touch::Read { phys, .. } = touch else {
            return;
        };
        if phys != UNIT.as_u64() + regs::FQCSR {
            return;
        }
        let left = arriving.load(Ordering::Relaxed);
        if left > 0 {
            arriving.store(left - 1, Ordering::Relaxed);
            let unit: &RiscvUnit = machine.riscv_units().next().expect("it has a unit");
            refuse(unit, 0x0018, left as u64 * PAGE);
        }
    };
    let machine = Machine::boot(with(RiscvConfig::default())).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    let unit = unit(&rig).clone();
    to_come.store(40, Ordering::Relaxed);
    refuse(&*unit, 0x0018, 41 * PAGE);
    wait_until("all have come and are read", || {
        to_come.load(Ordering::Relaxed) == 0 && is_read(&unit)
    });
    assert_eq!(rig.system().faults().total, 41);
    rig.finish_after_faults();
}

#[test]
fn every_fault_of_a_storm_is_counted_or_known_to_be_lost() {
    let mut rig = Rig::boot(with(RiscvConfig::default()));
    let edu = rig.edu();
    let unit: &RiscvUnit = unit(&rig);
    // Drivers work on meanwhile.
    storm(unit, 3, || {
        let buffer = DmaBuffer::allocate(rig.kernel, 2 * PAGE).unwrap();
        drop(edu.device().map_single(buffer, ToDevice).unwrap());
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

#[test]
fn the_unit_stops_in_a_storm_and_gives_everything_back() {
    for _ in 0..10 {
        let rig = Rig::boot(with(RiscvConfig::default()));
        let storming = unit(&rig).clone();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0_u16;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_add(1);
                    refuse(&*storming, 0x4000 | (n % 64), u64::from(n) * PAGE);
                }
            });
            let _stop = StopOnDrop(&stop);
            thread::sleep(Duration::from_millis(3));
            // SAFETY: the requests come from the test, not from a device.
            unsafe { rig.system().shutdown() }.unwrap();
        });
        rig.finish_after_faults();
    }
}

#[test]
fn a_queue_that_is_turned_off_while_an_overflow_is_cleared_stays_off() {
    const DDTP: u64 = UNIT.as_u64() + regs::DDTP;
    const FQCSR: u64 = UNIT.as_u64() + regs::FQCSR;
    // What has happened so far, in this order.
    const NOTHING: usize = 0;
    const IN_USE: usize = 1;
    const TURNING_OFF: usize = 2;
    const FOUND: usize = 3;
    const CLEARING: usize = 4;
    const OFF: usize = 5;
    let stage = Arc::new(AtomicUsize::new(NOTHING));
    let seen = stage.clone();
    let reach = |stage: &AtomicUsize, from, to| {
        let reached = stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        reached.is_ok()
    };
    // Not for ever: one of two may have to wait for the other.
    let await_stage = |stage: &AtomicUsize, at_least, most_ms| {
        for _ in 0..most_ms {
            if stage.load(Ordering::SeqCst) >= at_least {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    };
    let observer = move |machine: &Machine, touch| match touch {
        // The system has read the queue for the last time.
        Touch::Wrote { phys: DDTP, .. } if reach(&seen, IN_USE, TURNING_OFF) => {
            await_stage(&seen, CLEARING, 20_000);
        }
        Touch::Read { phys: FQCSR, value } => {
            if !FaultQueueControl::from_bits(value as u32).fqof() {
                if seen.load(Ordering::SeqCst) == TURNING_OFF {
                    let unit: &RiscvUnit = machine.riscv_units().next().expect("it has a unit");
                    (0..2 * RECORDS).for_each(|n| refuse(unit, 0x4001, n * PAGE));
                }
            } else if !reach(&seen, TURNING_OFF, FOUND) && reach(&seen, FOUND, CLEARING) {
                // An interrupt's handler is about to write back what it has read, without the overflow.
                await_stage(&seen, OFF, 200);
            }
        }
        Touch::Wrote { phys: FQCSR, value }
            if !FaultQueueControl::from_bits(value as u32).fqen() =>
        {
            let _ = reach(&seen, CLEARING, OFF);
        }
        _ => {}
    };
    let machine = Machine::boot(with(RiscvConfig::default())).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    let storming = unit(&rig).clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("the unit is being turned off", || {
                stage.load(Ordering::SeqCst) == TURNING_OFF
            });
            refuse(&*storming, 0x4000, PAGE);
        });
        stage.store(IN_USE, Ordering::SeqCst);
        // SAFETY: the requests come from the test, not from a device.
        unsafe { rig.system().shutdown() }.unwrap();
    });
    assert_eq!(stage.load(Ordering::SeqCst), OFF);
    rig.finish_after_faults();
}

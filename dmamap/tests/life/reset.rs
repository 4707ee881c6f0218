//! A device is reset: it forgets, its configuration does not, and memory in quarantine comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dmamap::device::ResetError;
use dmamap::map::{Bidirectional, ToDevice};
use dmamap::pci::{
    BusMaster, Function, FunctionResetError, ResetMethod, ResetPatience, Transactions,
};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::pci::config::{BAR0, COMMAND, INTERRUPT_LINE};
use machine::bus::Access;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::iommu::translator::Translator;
use machine::pci::reset::{Comeback, ResetKind, Resets};

use crate::ways::ways;
use rig::kinds::{go_on, hang};
use rig::{EDU, PAGE, Rig, buffer_of, impatient, small, try_write};

/// The first disk.
pub(crate) const DISK: dmamap::iommu::Requester = dmamap::iommu::Requester {
    segment: 0,
    id: 1 << 8,
};

const PATIENCE: ResetPatience = ResetPatience {
    pending_ms: 150,
    ready_ms: 300,
};

fn disk() -> NvmeConfig {
    let file = tempfile::tempfile().expect("the host has room");
    NvmeConfig::new(file, 1 << 20, Medium::ReadWrite)
}

fn with_kind(kind: ResetKind) -> Resets {
    Resets {
        kind,
        ..Resets::default()
    }
}

/// Header registers that a reset forgets, as they are now.
fn header(function: &Function<Hosted>) -> Vec<u32> {
    (0..6)
        .map(|bar| function.read_config(BAR0 + 4 * bar).unwrap())
        .chain([
            u32::from(function.read_config::<u16>(COMMAND).unwrap()),
            u32::from(function.read_config::<u8>(INTERRUPT_LINE).unwrap()),
        ])
        .collect()
}

#[test]
fn every_method_resets_a_device_and_gives_its_configuration_back() {
    for (kind, requester, method) in [
        (ResetKind::FunctionLevel, DISK, ResetMethod::FunctionLevel),
        (ResetKind::FunctionLevel, EDU, ResetMethod::AdvancedFeatures),
        (ResetKind::PowerState, EDU, ResetMethod::PowerState),
        (ResetKind::PowerState, DISK, ResetMethod::PowerState),
        (ResetKind::BusOnly, DISK, ResetMethod::SecondaryBus),
    ] {
        let rig = Rig::boot(small().with_disk(disk()).with_resets(with_kind(kind)));
        let function = rig.function(requester);
        assert_eq!(function.reset_method(), Some(method));
        function.enable_memory().unwrap();
        let mut device = rig.attach(requester);
        let before = header(&function);
        let reset = device.reset(PATIENCE).unwrap();
        assert_eq!(reset.function.method, method);
        assert_eq!(reset.function.transactions, Transactions::Done);
        assert_eq!(reset.recovered_bytes, 0);
        // The command register too: a bus master again, and decoding.
        assert_eq!(header(&function), before, "{method:?}");
        assert_eq!(function.read_bus_master(), BusMaster::On);
        assert_eq!(
            function.reset(PATIENCE).map(|reset| reset.method),
            Ok(method)
        );
        assert_eq!(function.read_bus_master(), BusMaster::Off);
        drop((device, function));
        rig.finish();
    }
}

#[test]
fn what_is_mapped_lives_through_a_reset_whatever_protects_it() {
    for way in ways() {
        for kind in [ResetKind::FunctionLevel, ResetKind::PowerState] {
            let name = format!("{} {kind:?}", way.name);
            let mut rig = way.boot(|config| config.with_resets(with_kind(kind)));
            let mut edu = rig.edu_on(way.attach(&rig, EDU));
            let lend = |edu: &Edu<Hosted>, byte| {
                let buffer = buffer_of(rig.kernel, 2 * PAGE, byte);
                edu.device().map_single(buffer, Bidirectional).unwrap()
            };
            let (kept, gone) = (lend(&edu, 0x5a), lend(&edu, 0x17));
            let (bus, was_mapped) = (kept.bus_addr(), gone.bus_addr());
            edu.fetch(&gone, 0, 64).unwrap();
            let target = edu.device().translate(bus);
            let not_reached = gone.unmap().unwrap();
            let mut device = edu.stop();
            let reset = device.reset(PATIENCE).unwrap();
            assert_eq!(reset.function.transactions, Transactions::Done, "{name}");
            assert_eq!(device.translate(bus), target, "{name}");
            let mut edu = rig.edu_on(device);
            edu.fetch(&kept, 0, 64).unwrap();
            edu.store(&kept, PAGE, 64).unwrap();
            if way.protection.is_some() {
                try_write(&mut edu, was_mapped, 64);
            }
            assert_eq!(not_reached.as_slice(), [0x17; 2 * PAGE as usize], "{name}");
            // What it forgot is nowhere: it stored what it fetched after the reset.
            let kept = kept.unmap().unwrap();
            assert_eq!(kept.as_slice(), [0x5a; 2 * PAGE as usize], "{name}");
            way.check(edu.device());
            drop((edu, kept, not_reached));
            way.finish(rig, 1);
        }
    }
}

#[test]
fn what_nothing_resets_alone_is_left_as_it_is() {
    let rig = Rig::boot(
        small()
            .with_disk(disk())
            .with_resets(with_kind(ResetKind::BusOnly)),
    );
    let function = rig.function(EDU);
    let mut device = rig.attach(EDU);
    let address = function.address();
    let refused = device.reset(PATIENCE);
    assert_eq!(
        refused,
        Err(ResetError::Function(FunctionResetError::NoMethod(address)))
    );
    assert_eq!(function.read_bus_master(), BusMaster::On);
    let bridge = rig.function(DISK).parent().unwrap().clone();
    assert_eq!(
        bridge.reset(PATIENCE),
        Err(FunctionResetError::Bridge(bridge.address()))
    );
    drop((device, function, bridge));
    rig.finish();
}

#[test]
fn a_reset_gives_quarantined_memory_back() {
    for kind in [ResetKind::FunctionLevel, ResetKind::PowerState] {
        let config = small().with_resets(with_kind(kind));
        let mut rig = Rig::boot_with(config, impatient(150));
        let function = rig.function(EDU);
        let mut device = rig.attach(EDU);
        let kept = device
            .map_single(buffer_of(rig.kernel, PAGE, 0x5a), Bidirectional)
            .unwrap();
        let target = device.translate(kept.bus_addr());
        let lost = device
            .map_single(buffer_of(rig.kernel, 2 * PAGE, 1), ToDevice)
            .unwrap();
        hang(&rig.machine);
        lost.unmap().expect_err("nobody confirms it");
        // The device is reset, but who can tell what the unit remembers?
        let refused = device.reset(PATIENCE);
        assert!(matches!(refused, Err(ResetError::Unit(_))), "{refused:?}");
        assert_eq!(function.read_bus_master(), BusMaster::Off);
        assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
        go_on(&rig.machine);
        assert_eq!(device.reset(PATIENCE).unwrap().recovered_bytes, 2 * PAGE);
        assert_eq!(device.figures().quarantined_bytes, 0);
        assert_eq!(function.read_bus_master(), BusMaster::On);
        // What lived lives, and the driver starts the device anew.
        assert_eq!(device.translate(kept.bus_addr()), target);
        let mut edu = rig.edu_on(device);
        edu.fetch(&kept, 0, 64).unwrap();
        edu.store(&kept, 64, 64).unwrap();
        drop(kept.unmap().unwrap());
        drop((edu, function));
        rig.finish();
    }
}

#[test]
fn a_reset_waits_for_requests_under_way() {
    let config = small().with_disk(disk());
    let rig = Rig::boot(config);
    for requester in [EDU, DISK] {
        let mut device = rig.attach(requester);
        let request = rig.machine.hold_request(requester.id);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let resetting = scope.spawn(|| {
                let reset = device.reset(ResetPatience {
                    pending_ms: 100_000,
                    ..PATIENCE
                });
                done.store(true, Ordering::SeqCst);
                reset
            });
            thread::sleep(Duration::from_millis(250));
            assert!(
                !done.load(Ordering::SeqCst),
                "a request was still under way"
            );
            drop(request);
            let reset = resetting.join().unwrap().unwrap();
            assert_eq!(reset.function.transactions, Transactions::Done);
        });
        drop(device);
    }
    // A reset with requests pending would be a finding.
    rig.finish();
}

#[test]
fn a_device_whose_requests_never_end_is_reset_all_the_same() {
    let rig = Rig::boot(small());
    let mut device = rig.attach(EDU);
    let request = rig.machine.hold_request(EDU.id);
    let begun = Instant::now();
    let reset = device.reset(PATIENCE).unwrap();
    assert_eq!(reset.function.transactions, Transactions::StillPending);
    assert!(begun.elapsed() >= Duration::from_millis(PATIENCE.pending_ms));
    let findings = rig.machine.findings();
    assert_eq!(findings.len(), 1, "the model tells of it: {findings:?}");
    drop((request, device));
    rig.abandon();
}

#[test]
fn a_device_that_never_comes_back_is_told_of_and_stays_cut_off() {
    for (kind, requester) in [
        (ResetKind::FunctionLevel, DISK),
        (ResetKind::FunctionLevel, EDU),
        (ResetKind::BusOnly, DISK),
    ] {
        let resets = Resets {
            kind,
            comeback: Comeback::Never,
            ..Resets::default()
        };
        let rig = Rig::boot(small().with_disk(disk()).with_resets(resets));
        let mut device = rig.attach(requester);
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        let address = rig.function(requester).address();
        assert_eq!(
            device.reset(PATIENCE),
            Err(ResetError::Function(FunctionResetError::NotReady {
                address,
                waited_ms: PATIENCE.ready_ms
            }))
        );
        // Its unit still confirms, so memory comes back and the device can be given up.
        drop(mapping.unmap().unwrap());
        device.detach().unwrap();
        assert_eq!(rig.system().faults().total, 0);
        let report = rig.finish_by(|computer| {
            // SAFETY: no device is attached; this one, which nobody can have silent, makes no requests.
            unsafe { computer.system().shutdown() }.expect("the units stop");
        });
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

#[test]
fn a_transfer_that_waited_does_not_outlive_a_reset() {
    let mut rig = Rig::boot(small());
    let edu = rig.edu();
    let mut device = edu.stop();
    let buffer = buffer_of(rig.kernel, PAGE, 0x77);
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    let bus = mapping.bus_addr();
    device.reset(PATIENCE).unwrap();
    let mut edu = rig.edu_on(device);
    // The device's own buffer was written by nobody since.
    try_write(&mut edu, bus, 64);
    drop(edu);
    assert_eq!(rig.system().faults().total, 0);
    drop(mapping);
    rig.finish();
}

#[test]
fn detaching_and_unmapping_race_with_a_reset() {
    let rig = Rig::boot(small());
    for _ in 0..3 {
        let mut device = rig.attach(EDU);
        let mappings: Vec<_> = (0..20)
            .map(|_| {
                let buffer = buffer_of(rig.kernel, PAGE, 1);
                device.map_single(buffer, ToDevice).unwrap()
            })
            .collect();
        thread::scope(|scope| {
            scope.spawn(move || {
                for mapping in mappings {
                    thread::sleep(Duration::from_millis(5));
                    drop(mapping.unmap().unwrap());
                }
            });
            scope.spawn(move || {
                device.reset(PATIENCE).unwrap();
                device.detach().unwrap();
            });
            // Another owner of the function meddles.
            let function = rig.function(EDU);
            scope.spawn(move || {
                for _ in 0..20 {
                    function.disable_bus_master();
                    thread::sleep(Duration::from_millis(5));
                }
            });
        });
    }
    rig.finish();
}

#[test]
fn a_request_that_the_unit_let_through_is_waited_for_at_recovery() {
    let rig = Rig::boot_with(small(), impatient(150));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
        .unwrap();
    let bus = mapping.bus_addr().as_u64();
    let unit = rig.unit(0);
    let request = unit.translate(EDU.id, bus, Access::Write).unwrap();
    // Draining lasts longer than the driver's patience.
    mapping.unmap().expect_err("a request is under way");
    device.recover().expect_err("it still is");
    assert_eq!(device.figures().quarantined_bytes, PAGE);
    drop(request);
    assert_eq!(device.recover(), Ok(PAGE));
    drop(device);
    rig.finish();
}

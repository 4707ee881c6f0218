//! A machine sleeps and wakes with live domains, whatever its units and devices forgot meanwhile.

use std::thread;

use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, MapFailure, ToDevice};
use dmamap::pci::{BusMaster, MsixTable};
use dmamap::platform::Platform;
use dmamap::system::{
    AttachError, Protection, QuiesceError, RestartError, ResumeError, ShutdownError, SuspendError,
};
use hosted::Hosted;
use hw::pci::config::BAR0;
use machine::device::nvme::{Medium, NvmeConfig};

use crate::reset::DISK;
use crate::ways::ways;
use rig::kinds::{go_on, hang, kinds};
use rig::patience::StopOnDrop;
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, impatient, small, try_write};

fn disk() -> NvmeConfig {
    let file = tempfile::tempfile().expect("the host has room");
    NvmeConfig::new(file, 1 << 20, Medium::ReadWrite)
}

#[test]
fn what_is_mapped_stays_mapped_through_a_loss_of_power() {
    for way in ways() {
        let name = &way.name;
        let mut rig = way.boot(|config| config);
        let function = rig.function(EDU);
        let mut edu = rig.edu_on(way.attach(&rig, EDU));
        let buffer = buffer_of(rig.kernel, 3 * PAGE, 0x42);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        let gone = buffer_of(rig.kernel, PAGE, 0x17);
        let gone = edu.device().map_single(gone, Bidirectional).unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        let (bus, was_mapped) = (mapping.bus_addr(), gone.bus_addr());
        let target = edu.device().translate(bus);
        let not_reached = gone.unmap().unwrap();

        let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
        assert_eq!(function.read_bus_master(), BusMaster::Off);
        let bar: u32 = function.read_config(BAR0).unwrap();
        rig.machine.power_cycle();
        assert_ne!(function.read_config::<u32>(BAR0), Ok(bar), "{name}");
        // SAFETY: the devices had no power and obey their bus-master bits.
        let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
        assert_eq!((resumed.lost, resumed.recovered_bytes), (vec![], 0));
        assert_eq!(function.read_config::<u32>(BAR0), Ok(bar), "{name}");
        assert_eq!(function.read_bus_master(), BusMaster::On);

        assert_eq!(edu.device().translate(bus), target, "{name}");
        // The device's own buffer went with its power or not: it stores what it fetches now.
        edu.fetch(&mapping, 64, 64).unwrap();
        edu.store(&mapping, 2 * PAGE, 64).unwrap();
        assert_eq!(rig.system().faults().total, 0, "{name}");
        if way.protection.is_some() {
            try_write(&mut edu, was_mapped, 64);
        }
        assert_eq!(not_reached.as_slice(), [0x17; PAGE as usize], "{name}");
        let buffer = mapping.unmap().unwrap();
        assert_eq!(buffer.as_slice(), [0x42; 3 * PAGE as usize], "{name}");
        way.check(edu.device());
        drop((buffer, edu, function, not_reached));
        way.finish(rig, 1);
    }
}

#[test]
fn while_it_sleeps_nothing_is_promised_that_nobody_can_keep() {
    for (kind, iommu) in kinds() {
        let rig = Rig::boot(small().with_iommu(iommu));
        let function = rig.function(HEARTBEAT);
        let topology = rig.computer.topology();
        let device = rig.attach(EDU);
        let map = || {
            let mapped = device.map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice);
            mapped.map_err(|rejected| (rejected.error, rejected.buffer.is_some()))
        };
        let (unmapped, dropped, kept) = (map().unwrap(), map().unwrap(), map().unwrap());
        let suspended = rig.system().suspend(topology).unwrap();

        let refused = map().expect_err("nobody could be told");
        let (error, buffer_is_back) = refused;
        assert_eq!(error.failure, MapFailure::Suspended, "{kind}");
        assert!(buffer_is_back);
        let coherent = device.alloc_coherent::<u64>(1);
        assert!(coherent.is_err());
        let quarantined = unmapped.unmap().expect_err("nobody can confirm it");
        assert!(
            matches!(
                quarantined.error,
                RevokeError::Unit(UnitError::Asleep { .. })
            ),
            "{kind}: {quarantined}"
        );
        drop(dropped);
        assert_eq!(device.figures().quarantined_bytes, 2 * PAGE, "{kind}");
        device.recover().expect_err("the units sleep");
        let attached = rig.system().attach(&function, Protection::Strict);
        assert!(matches!(attached, Err(AttachError::UnitsChanging { .. })));
        assert_eq!(
            rig.system().suspend(topology).map(drop),
            Err(SuspendError::Busy)
        );
        assert!(matches!(
            rig.system().quiesce(topology),
            Err(QuiesceError::Busy)
        ));
        // SAFETY: both are refused.
        let (stopped, restarted) =
            unsafe { (rig.system().shutdown(), rig.system().restart_units()) };
        assert!(matches!(
            stopped,
            Err(ShutdownError::StillAttached { .. } | ShutdownError::Busy)
        ));
        assert_eq!(restarted, Err(RestartError::NotRunning));
        assert_eq!(rig.system().faults().total, 0);

        rig.machine.power_cycle();
        // SAFETY: the devices had no power and obey their bus-master bits.
        let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
        assert_eq!(resumed.recovered_bytes, 2 * PAGE, "{kind}");
        assert_eq!(device.figures().quarantined_bytes, 0, "{kind}");
        drop(map().unwrap().unmap().unwrap());
        drop(kept.unmap().unwrap());
        drop((device, function));
        rig.finish();
    }
}

#[test]
fn a_device_that_leaves_while_it_sleeps_is_no_bus_master_afterwards() {
    for (kind, iommu) in kinds() {
        let rig = Rig::boot(small().with_iommu(iommu));
        let function = rig.function(EDU);
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, ToDevice).unwrap();
        let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
        device.detach().expect_err("nobody can confirm it");
        rig.machine.power_cycle();
        // SAFETY: the devices had no power and obey their bus-master bits.
        unsafe { rig.system().resume(suspended) }.unwrap();
        assert_eq!(function.read_bus_master(), BusMaster::Off, "{kind}");
        rig.system().recover(&function).unwrap();
        drop(mapping.unmap().unwrap());
        drop(function);
        rig.finish();
    }
}

#[test]
fn a_unit_that_does_not_wake_can_be_tried_again() {
    for (kind, iommu) in kinds() {
        if kind == "virtio" || kind == "amd" {
            // Their resets need no queue that can hang.
            continue;
        }
        let rig = Rig::boot_with(small().with_iommu(iommu), impatient(150));
        let function = rig.function(EDU);
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, ToDevice).unwrap();
        let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
        rig.machine.power_cycle();
        hang(&rig.machine);
        // SAFETY: the devices had no power and obey their bus-master bits.
        let failed = unsafe { rig.system().resume(suspended) }.expect_err("a unit hangs");
        assert!(matches!(failed.error, ResumeError::Unit(_)), "{kind}");
        assert_eq!(function.read_bus_master(), BusMaster::Off);
        go_on(&rig.machine);
        // SAFETY: as above.
        unsafe { rig.system().resume(failed.suspended) }.unwrap();
        assert_eq!(function.read_bus_master(), BusMaster::On);
        drop(mapping.unmap().unwrap());
        drop((device, function));
        rig.finish();
    }
}

#[test]
fn a_device_that_is_pulled_out_while_it_sleeps_is_lost() {
    let rig = Rig::boot(small());
    let address = rig.function(EDU).address();
    let device = rig.attach(EDU);
    let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
    rig.machine.power_cycle();
    rig.machine.remove(EDU.id);
    // SAFETY: the devices had no power and obey their bus-master bits.
    let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
    assert_eq!(resumed.lost, [address]);
    device.detach().unwrap();
    rig.finish();
}

/// The four words of each entry of the disk's MSI-X table, as they are now.
fn entries(rig: &Rig) -> Vec<u64> {
    use board::hardware::{Hardware, Width};

    let bar = rig.function(DISK).bar(4).and_then(|bar| bar.phys).unwrap();
    (0..8)
        .map(|word| {
            rig.machine
                .read(bar.start().as_u64() + 4 * word, Width::Dword)
        })
        .collect()
}

#[test]
fn message_interrupts_are_as_before_when_their_table_was_restored() {
    for power in [true, false] {
        let mut rig = Rig::boot(small().with_disk(disk()));
        let function = rig.function(DISK);
        let mut device = rig.attach(DISK);
        device
            .set_mask_and_coherent(dmamap::addr::DmaMask::from_bits(64).unwrap())
            .unwrap();
        let resources = rig.computer.resources_mut();
        let table: MsixTable<Hosted> = function.claim_msix("test", resources, None).unwrap();
        let interrupt = rig.kernel.allocate_interrupt(None).unwrap();
        table.program(0, &interrupt, device.mask()).unwrap();
        table.program(1, &interrupt, device.mask()).unwrap();
        table.unmask(1).unwrap();
        table.enable();
        let before = entries(&rig);
        if power {
            let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
            rig.machine.power_cycle();
            // SAFETY: the devices had no power and obey their bus-master bits.
            unsafe { rig.system().resume(suspended) }.unwrap();
        } else {
            device.reset(Default::default()).unwrap();
        }
        assert_ne!(entries(&rig), before, "the table forgot");
        table.restore().unwrap();
        assert_eq!(entries(&rig), before);
        drop(table);
        rig.kernel.free_interrupt(interrupt);
        drop((device, function));
        rig.finish();
    }
}

#[test]
fn threads_that_map_and_unmap_meet_a_machine_that_sleeps_and_wakes() {
    for (kind, iommu) in kinds() {
        let rig = Rig::boot(small().with_iommu(iommu));
        let device = rig.attach(EDU);
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let stop = StopOnDrop(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::SeqCst) {
                        let buffer = buffer_of(rig.kernel, PAGE, 1);
                        // Some are refused, some are lost and come back.
                        if let Ok(mapping) = device.map_single(buffer, ToDevice) {
                            let _ = mapping.unmap();
                        }
                    }
                });
            }
            for _ in 0..10 {
                let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
                // SAFETY: models obey their bus-master bits.
                unsafe { rig.system().resume(suspended) }.unwrap();
                thread::sleep(std::time::Duration::from_millis(2));
            }
            drop(stop);
        });
        device.recover().unwrap();
        let figures = device.figures();
        assert_eq!(
            (figures.quarantined_bytes, figures.lost_bytes),
            (0, 0),
            "{kind}"
        );
        assert_eq!(figures.live_mappings, 0, "{kind}");
        device.detach().unwrap();
        rig.finish();
    }
}

//! Memory that a unit did not confirm a device to have lost: it comes back when the unit does, and not before.

use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::device::{Device, NotConfirmed};
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, FromDevice, MapFailure, ToDevice};
use dmamap::pci::BusMaster;
use dmamap::system::{AttachError, Protection, RecoverError};
use hosted::{FaultInjector, Hosted, Resource};
use machine::Machine;
use machine::MachineConfig;
use machine::iommu::vtd::VtdConfig;
use machine::temper::Temper;

use rig::kinds::{go_on, hang, kinds};
use rig::patience::{StopOnDrop, wait_until};
use rig::{EDU, PAGE, Rig, buffer_of, impatient, share_a_page, small, try_write};

/// How long units are waited for.
const PATIENCE_MS: u64 = 150;

fn boot(config: MachineConfig) -> Rig {
    Rig::boot_with(config, impatient(PATIENCE_MS))
}

/// Mappings of every kind, all of which end while the units hang: unmapped, freed and dropped.
fn lose_some(rig: &Rig, device: &Device<Hosted>) -> u64 {
    let buffer = |pages: u64| DmaBuffer::allocate(rig.kernel, pages * PAGE).unwrap();
    let unmapped = device.map_single(buffer(3), Bidirectional).unwrap();
    let dropped = device.map_single(buffer(1), ToDevice).unwrap();
    let list = ScatteredBuffer::allocate(rig.kernel, 5 * PAGE).unwrap();
    let list = device.map_sg(list, FromDevice).unwrap();
    let freed = device.alloc_coherent::<u64>(700).unwrap();
    hang(&rig.machine);
    unmapped.unmap().expect_err("nobody confirms it");
    drop(dropped);
    list.unmap().expect_err("nobody confirms it");
    freed.free().expect_err("nobody confirms it");
    3 * PAGE + PAGE + 5 * PAGE + 700 * 8
}

#[test]
fn memory_comes_back_when_the_unit_answers_again() {
    for (kind, iommu) in kinds() {
        for temper in [Temper::Keep, Temper::Forget] {
            let rig = boot(small().with_iommu(iommu.clone()).with_temper(temper));
            drop(rig.attach(EDU));
            drop(rig.attach(EDU));
            let before = rig.frames_in_use();
            let device = rig.attach(EDU);
            let born_with = device.domain_frames();
            let lost = lose_some(&rig, &device);
            let figures = device.figures();
            assert_eq!(figures.quarantined_bytes, lost, "{kind}");
            assert_eq!(
                (figures.live_mappings, figures.lost_bytes),
                (0, 0),
                "{kind}"
            );
            // It does not answer yet.
            let refused = device.recover();
            assert!(
                matches!(
                    refused,
                    Err(NotConfirmed {
                        error: RevokeError::Unit(
                            UnitError::TimedOut { .. } | UnitError::QueueStopped { .. }
                        ),
                        ..
                    })
                ),
                "{kind}: {refused:?}"
            );
            assert_eq!(device.figures().quarantined_bytes, lost, "{kind}");
            go_on(&rig.machine);
            assert_eq!(device.recover(), Ok(lost), "{kind}");
            assert_eq!(device.figures().quarantined_bytes, 0, "{kind}");
            // Nothing is left to be recovered, and nothing of it is left in the domain.
            assert_eq!(device.recover(), Ok(0), "{kind}");
            device.reclaim().unwrap();
            assert_eq!(device.domain_frames(), born_with, "{kind}");
            device.detach().unwrap();
            drop(rig.attach(EDU));
            drop(rig.attach(EDU));
            assert_eq!(rig.frames_in_use(), before, "{kind}");
            rig.finish();
        }
    }
}

#[test]
fn what_is_in_quarantine_is_lent_to_nobody() {
    let rig = boot(small());
    let device = rig.attach(EDU);
    let lost = device
        .map_single(buffer_of(rig.kernel, 3 * PAGE, 1), Bidirectional)
        .unwrap();
    let (bus, phys) = (lost.range(), lost.phys());
    hang(&rig.machine);
    lost.unmap().expect_err("nobody confirms it");
    go_on(&rig.machine);
    let others: Vec<_> = (0..200)
        .map(|_| {
            let buffer = buffer_of(rig.kernel, PAGE, 2);
            device.map_single(buffer, Bidirectional).unwrap()
        })
        .collect();
    for other in &others {
        assert!(!share_a_page(other.range(), bus));
        assert!(!other.phys().overlaps(phys));
    }
    drop(others);
    assert_eq!(device.recover(), Ok(3 * PAGE));
    // Low addresses are used again first, once no lane has a block of others.
    device.reclaim().unwrap();
    let again = device
        .map_single(buffer_of(rig.kernel, 3 * PAGE, 1), Bidirectional)
        .unwrap();
    assert_eq!(again.range(), bus);
    drop((again, device));
    rig.finish();
}

#[test]
fn recovered_memory_is_out_of_the_devices_reach() {
    for (kind, iommu) in kinds() {
        let mut rig = boot(small().with_iommu(iommu));
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 0x11);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        // The unit remembers it, and keeps that while it hangs.
        edu.fetch(&mapping, 0, 64).unwrap();
        let (bus, phys) = (mapping.bus_addr(), mapping.phys());
        hang(&rig.machine);
        mapping.unmap().expect_err("nobody confirms it");
        go_on(&rig.machine);
        assert_eq!(edu.device().recover(), Ok(PAGE));
        // Whoever has the memory now: the models report a translation that leads to freed frames.
        let mut others = Vec::new();
        let next = loop {
            let buffer = buffer_of(rig.kernel, PAGE, 0x22);
            if buffer.phys(0) == Some(phys.start()) {
                break buffer;
            }
            others.push(buffer);
        };
        try_write(&mut edu, bus, 64);
        assert_eq!(next.as_slice(), [0x22; PAGE as usize], "{kind}");
        assert_eq!(rig.system().faults().total, 1, "{kind}");
        drop(edu);
        drop((next, others));
        rig.finish_after_faults();
    }
}

#[test]
fn a_confirmed_detach_gives_quarantined_memory_back() {
    for (_, iommu) in kinds() {
        let rig = boot(small().with_iommu(iommu));
        let device = rig.attach(EDU);
        lose_some(&rig, &device);
        go_on(&rig.machine);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_detach_that_was_not_confirmed_can_be_made_up_for() {
    for (kind, iommu) in kinds() {
        let rig = boot(small().with_iommu(iommu));
        let function = rig.function(EDU);
        let device = rig.attach(EDU);
        let live = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        let late = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        lose_some(&rig, &device);
        device.detach().expect_err("nobody confirms it");
        assert_eq!(function.read_bus_master(), BusMaster::Off);
        let quarantined = late.unmap().expect_err("the detach was not confirmed");
        assert_eq!(quarantined.error, RevokeError::DetachUnconfirmed, "{kind}");
        let again = rig.system().attach(&function, Protection::Strict);
        assert!(matches!(again, Err(AttachError::AlreadyAttached { .. })));
        let still = rig.system().recover(&function);
        assert!(matches!(still, Err(RecoverError::Detach(_))), "{still:?}");
        go_on(&rig.machine);
        assert_eq!(rig.system().recover(&function), Ok(()), "{kind}");
        assert_eq!(
            rig.system().recover(&function),
            Err(RecoverError::NotWaiting { device: EDU })
        );
        drop(live.unmap().expect("the device lost it"));
        drop(rig.attach(EDU));
        drop(function);
        rig.finish();
    }
}

#[test]
fn a_map_that_could_not_be_undone_comes_back_too() {
    // Units that cache absence are asked at map.
    let unit = VtdConfig {
        caching_mode: machine::iommu::vtd::CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    let rig = boot(small().with_iommu(rig::vtd(unit)));
    let device = rig.attach(EDU);
    hang(&rig.machine);
    let rejected = device
        .map_single(buffer_of(rig.kernel, 2 * PAGE, 1), Bidirectional)
        .expect_err("nobody makes it visible");
    assert!(matches!(rejected.error.failure, MapFailure::Domain(_)));
    assert!(rejected.buffer.is_none());
    assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
    go_on(&rig.machine);
    assert_eq!(device.recover(), Ok(2 * PAGE));
    drop(device);
    rig.finish();
}

#[test]
fn threads_that_recover_while_others_lose_memory_get_each_byte_once() {
    let rig = Rig::boot_with(small(), impatient(50));
    let device = rig.attach(EDU);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (lost, back) = std::thread::scope(|scope| {
        let stop = StopOnDrop(&done);
        hang(&rig.machine);
        let losers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut lost = 0;
                    for _ in 0..12 {
                        let buffer = buffer_of(rig.kernel, PAGE, 1);
                        let mapping = device.map_single(buffer, ToDevice).unwrap();
                        lost += u64::from(mapping.unmap().is_err()) * PAGE;
                    }
                    lost
                })
            })
            .collect();
        let recoverers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut back = 0;
                    while !done.load(std::sync::atomic::Ordering::SeqCst) {
                        back += device.recover().unwrap_or(0);
                    }
                    back
                })
            })
            .collect();
        // Each of them meets the unit as it hangs at least once, however busy the host is.
        let met = || device.figures().quarantined_bytes > 0;
        wait_until("memory is lost", met);
        let mut hangs = true;
        wait_until("the losers are done", || {
            hangs = !hangs;
            match hangs {
                true => hang(&rig.machine),
                false => go_on(&rig.machine),
            }
            std::thread::sleep(std::time::Duration::from_millis(70));
            losers.iter().all(|loser| loser.is_finished())
        });
        go_on(&rig.machine);
        drop(stop);
        let lost: u64 = losers.into_iter().map(|one| one.join().unwrap()).sum();
        let back: u64 = recoverers.into_iter().map(|one| one.join().unwrap()).sum();
        (lost, back + device.recover().unwrap())
    });
    assert!(lost > 0, "the units never hung long enough");
    assert_eq!(lost, back);
    assert_eq!(device.figures().quarantined_bytes, 0);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn without_a_frame_to_note_it_down_memory_is_lost_and_counted() {
    let machine = Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let options = impatient(PATIENCE_MS);
    let rig = Rig::boot_on(machine, kernel, injector, options).unwrap();
    let device = rig.attach(EDU);
    let map = |pages: u64| {
        let buffer = DmaBuffer::allocate(injector, pages * PAGE).unwrap();
        device
            .map_single(buffer, ToDevice)
            .map_err(|rejected| rejected.error)
    };
    // Each frame that a quarantine asks for is refused in turn: the slab's, and the directory's.
    let (lost, mut nth) = (std::cell::Cell::new(0), 0);
    loop {
        nth += 1;
        let mapping = map(nth).unwrap();
        hang(&rig.machine);
        let before = injector.injected();
        injector.fail_nth_of(Resource::Frames, nth);
        mapping.unmap().expect_err("nobody confirms it");
        injector.relent();
        go_on(&rig.machine);
        if injector.injected() == before {
            break;
        }
        lost.set(lost.get() + nth * PAGE);
        assert_eq!(device.figures().lost_bytes, lost.get());
        assert_eq!(device.figures().quarantined_bytes, 0);
    }
    assert!(nth > 1, "no frame was asked for");
    assert_eq!(device.figures().quarantined_bytes, nth * PAGE);
    assert_eq!(device.recover(), Ok(nth * PAGE));
    let figures = device.figures();
    assert_eq!(
        (figures.quarantined_bytes, figures.lost_bytes),
        (0, lost.get())
    );
    device.detach().unwrap();
    let report = rig.finish_with_losses();
    assert_eq!(report.frames.in_use * PAGE, lost.get());
}

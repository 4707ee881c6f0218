//! Stream table and context descriptors, as a unit meets them at every moment of a device's life.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use board::hardware::Hardware;
use dmamap::addr::DmaMask;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use dmamap::system::{Protection, Stage};
use hosted::Hosted;
use hw::smmu::event::EventKind;
use machine::Machine;
use machine::bus::Access;
use machine::iommu::translator::{Destination, Translator};
use machine::temper::Temper;

use super::{STAGES, not_snooping, staged};
use rig::observed::{Observed, Observer, Touch};
use rig::{EDU, HEARTBEAT, PAGE, Rig};

/// Boots a machine that walks every time and reads memory only, and that `observer` looks at.
fn boot(stage: Stage, observer: impl Observer) -> Rig {
    let machine = Machine::boot(not_snooping().with_temper(Temper::Forget)).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    Rig::boot_on(machine, kernel, kernel, staged(stage)).unwrap()
}

/// Maps and unmaps a page for the device.
fn map_a_page(rig: &Rig, device: &Device<Hosted>) {
    device.set_mask(DmaMask::ALL).unwrap();
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    mapping.unmap().unwrap();
}

#[test]
fn an_entry_is_never_met_half_written() {
    for stage in STAGES {
        // Each line is looked at as soon as it is written back, so between any two stores to an entry.
        let met = Arc::new(AtomicUsize::new(0));
        let counted = met.clone();
        let rig = boot(stage, move |machine: &Machine, touch| {
            if !matches!(touch, Touch::Cleaned { .. }) {
                return;
            }
            for unit in machine.smmu_units() {
                let Err(fault) = unit.translate(EDU.id, 0x1000, Access::Read) else {
                    continue;
                };
                let expected = [
                    EventKind::BadStreamId,
                    EventKind::BadSte,
                    EventKind::Translation,
                ];
                assert!(
                    expected
                        .iter()
                        .any(|kind| u16::from(kind.code()) == fault.reason),
                    "{fault}"
                );
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            let device = rig.attach(EDU);
            map_a_page(&rig, &device);
            device.detach().unwrap();
        }
        assert!(
            met.load(Ordering::Relaxed) > 20,
            "the unit was asked {met:?} times"
        );
        rig.finish_after_faults();
    }
}

#[test]
fn what_firmware_left_at_work_is_never_refused() {
    for stage in STAGES {
        let rig = boot(stage, |machine: &Machine, touch| {
            // Its region, at every moment the CPU could be interrupted.
            let region = machine.reserved_ram()[0].start;
            for unit in machine.smmu_units() {
                match unit.translate(HEARTBEAT.id, region, Access::Write) {
                    Ok(request) => match request.destination() {
                        Destination::Physical(phys) | Destination::Untranslated(phys) => {
                            assert_eq!(phys, region);
                        }
                    },
                    Err(fault) => panic!("{fault} after {touch:x?}"),
                }
            }
        });
        for protection in [
            Protection::Strict,
            Protection::Identity,
            Protection::Identity,
            Protection::Strict,
        ] {
            let device = rig.attach_trusted(HEARTBEAT, protection);
            if protection == Protection::Strict {
                map_a_page(&rig, &device);
            }
            device.detach().unwrap();
        }
        assert_eq!(rig.machine.heartbeat().missed, 0);
        rig.finish();
    }
}

#[test]
fn memory_of_entries_is_taken_once_for_a_block_of_streams() {
    for stage in STAGES {
        let rig = Rig::boot_with(not_snooping(), staged(stage));
        let device = rig.attach(EDU);
        let held = rig.frames_in_use();
        drop(device);
        let before = rig.frames_in_use();
        for _ in 0..10 {
            let device = rig.attach(EDU);
            assert_eq!(rig.frames_in_use(), held);
            drop(device);
            assert_eq!(rig.frames_in_use(), before);
        }
        rig.finish();
    }
}

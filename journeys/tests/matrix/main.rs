//! The whole catalogue on a few computers that differ in all that matters: how memory is protected, or the way to it where
//! nothing translates, whether devices see the CPU's caches, and what caches do by themselves. `dmamap journeys` makes all
//! combinations.

mod computers;

use std::convert::Infallible;

use dmamap::bounce::BounceSettings;
use dmamap::system::Protection;
use drivers::nvme::Settings;
use drivers::virtio_slot;
use hosted::Hosted;
use journeys::Attempt;
use journeys::catalogue::{journeys, virtio_journeys};
use journeys::differential::differential;
use journeys::disk::{Disk, DiskOptions, write_disk};
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;

use computers::{COMPUTERS, Computer, DISK_BYTES, Way};
use rig::Rig;
use rig::disks::{bytes_at, read_and_check};

/// Journeys of the catalogue that need an IOMMU.
const NEED_TRANSLATION: usize = 10;
/// Journeys that need none, but memory that the educational device reaches, which has 28 address lines.
const NEED_NEAR_MEMORY: usize = 9;

virtio_slot! { struct Place(Hosted); }

fn write_and_check(disk: &mut Disk<Hosted>) {
    let options = DiskOptions {
        len_bytes: Some(DISK_BYTES),
        ..DiskOptions::default()
    };
    let mut at = 0;
    let written = write_disk(disk, &options, |piece: &mut [u8]| {
        bytes_at(at, piece);
        at += piece.len() as u64;
        Ok::<(), Infallible>(())
    });
    assert_eq!(written.expect("it is written").len_bytes, DISK_BYTES);
    read_and_check(disk, DISK_BYTES);
}

/// Makes `test` on every computer, each of which must be left as it was found.
fn on_every_computer(test: impl Fn(&Computer, &mut Rig)) {
    for computer in COMPUTERS {
        let mut rig = computer.boot();
        test(computer, &mut rig);
        if let Some(caches) = rig.machine.caches() {
            let lost = caches.invalidated_dirty_lines;
            assert_eq!(lost, 0, "{}: a store was lost", computer.name);
        }
        rig.finish_after_faults();
    }
}

#[test]
fn every_journey_is_made() {
    on_every_computer(|computer, rig| {
        let mut made = 0;
        let virtio = virtio_journeys::<Place>();
        for journey in journeys().into_iter().chain(virtio) {
            if journey.needs.check(&rig.computer).is_err() {
                continue;
            }
            // SAFETY: nobody else drives the computer, and its devices keep to what they are told.
            let outcome = unsafe { journey.run(&mut rig.computer) };
            outcome.unwrap_or_else(|error| panic!("{}: {}: {error}", computer.name, journey.name));
            made += 1;
        }
        let left_out = match (rig.computer.has_iommu(), computer.way) {
            (true, _) => 0,
            (false, Way::Offset) => NEED_TRANSLATION + NEED_NEAR_MEMORY,
            (false, _) => NEED_TRANSLATION,
        };
        let all = journeys::<Hosted>().len() + virtio_journeys::<Place>().len();
        assert_eq!(made, all - left_out, "{}", computer.name);
    });
}

#[test]
fn disks_are_read_and_written_by_the_way_that_was_asked_for() {
    on_every_computer(|computer, rig| {
        for index in [0, 1] {
            let function = rig.disk_function(index);
            let device = match computer.way {
                Way::Translated(_) => rig.computer.attach(&function).expect("it attaches"),
                _ => rig.attach_trusted_disk(index),
            };
            let started = rig.start_on(device, index, Settings::default());
            let mut disk = started.map_err(|failed| failed.error).expect("it starts");
            match index {
                0 => read_and_check(&mut disk, DISK_BYTES),
                _ => write_and_check(&mut disk),
            }
            let figures = disk.device().figures();
            match computer.way {
                Way::Translated(Protection::Bounce) | Way::Bounced => {
                    assert!(figures.bounced_bytes >= DISK_BYTES, "{figures:?}");
                }
                Way::FewLines => assert!(figures.bounced_bytes > 0, "{figures:?}"),
                Way::Translated(_) | Way::Offset => assert_eq!(figures.bounced_bytes, 0),
            }
            let device = disk.shutdown().map_err(|failed| failed.error);
            device.expect("it stops").detach().expect("it detaches");
        }
        if computer.devices == Snooping::Off {
            let caches = rig.machine.caches().expect("the machine has caches");
            assert!(caches.cleaned_dirty_lines > 0, "{}", computer.name);
        }
    });
}

/// Every command's mapping is shorter than what is copied: the disk works in slots alone, and at its units nobody waits for its data.
#[test]
fn disks_are_read_and_written_where_short_mappings_are_copied() {
    on_every_computer(|computer, rig| {
        if computer.way != Way::Translated(Protection::Strict) {
            return;
        }
        rig.computer.system().set_bounce(BounceSettings {
            copy_below_bytes: DISK_BYTES,
            ..BounceSettings::default()
        });
        for index in [0, 1] {
            let function = rig.disk_function(index);
            let device = rig.computer.attach(&function).expect("it attaches");
            let started = rig.start_on(device, index, Settings::default());
            let mut disk = started.map_err(|failed| failed.error).expect("it starts");
            match index {
                0 => read_and_check(&mut disk, DISK_BYTES),
                _ => write_and_check(&mut disk),
            }
            let figures = disk.device().figures();
            assert!(figures.bounced_bytes >= DISK_BYTES, "{figures:?}");
            let device = disk.shutdown().map_err(|failed| failed.error);
            device.expect("it stops").detach().expect("it detaches");
        }
    });
}

#[test]
fn what_is_unmapped_is_out_of_reach_as_the_protection_has_it() {
    on_every_computer(|computer, rig| {
        if !rig.computer.has_iommu() {
            return;
        }
        let attempt = unmap_blocks_device(&mut rig.computer).expect("it is out of reach");
        let absorbed = matches!(attempt, Attempt::Absorbed(_));
        let bounces = computer.way == Way::Translated(Protection::Bounce);
        assert_eq!(absorbed, bounces, "{}: {attempt:?}", computer.name);
    });
}

#[test]
fn random_steps_agree_with_the_oracle() {
    on_every_computer(|computer, rig| {
        if !rig.computer.has_iommu() {
            return;
        }
        let report = differential(&mut rig.computer, 11, 250);
        let report = report.unwrap_or_else(|error| panic!("{}: {error}", computer.name));
        let deferred = computer.way == Way::Translated(Protection::Deferred);
        assert_eq!(
            report.retired > 0,
            deferred,
            "{}: {report:?}",
            computer.name
        );
        assert!(report.allowed > 10, "{}: {report:?}", computer.name);
    });
}

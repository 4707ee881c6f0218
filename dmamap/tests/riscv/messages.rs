//! Interrupt messages of devices behind a RISC-V IOMMU, which translates them like all they write.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use board::hardware::Hardware;
use dmamap::iommu::Requester;
use dmamap::system::{Protection, Stage};
use drivers::nvme::{CompletionMode, Nvme, Settings};
use hosted::Hosted;
use journeys::disk::{Disk, DiskOptions, read_disk};
use machine::Machine;
use machine::bus::Access;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::translator::{Destination, Translator};
use rig::observed::{Observed, Touch};
use rig::riscv::{by, unit, with};
use rig::{EDU, PAGE, Rig};

#[test]
fn an_attached_device_reaches_the_doorbells_at_their_own_addresses_and_no_other() {
    for stage in [Stage::First, Stage::Second] {
        let rig = Rig::boot_with(with(RiscvConfig::default()), by(stage));
        let unit = unit(&rig);
        let doorbells = rig.machine.message_window();
        let places = [doorbells.start, doorbells.end - 4];
        let write = |bus| {
            let request = unit.translate(EDU.id, bus, Access::Write);
            request.map(|request| request.destination())
        };
        assert!(places.iter().all(|&bus| write(bus).is_err()));

        let device = rig.attach(EDU);
        for bus in places {
            assert_eq!(write(bus).unwrap(), Destination::Physical(bus));
        }
        for bus in [doorbells.start - PAGE, doorbells.end.next_multiple_of(PAGE)] {
            assert!(write(bus).is_err(), "{bus:#x}");
        }
        device.detach().unwrap();
        assert!(places.iter().all(|&bus| write(bus).is_err()));
        rig.finish_after_faults();
    }
}

#[test]
fn messages_arrive_by_either_stage_and_from_a_trusted_device() {
    for stage in [Stage::First, Stage::Second] {
        for protection in [Protection::Strict, Protection::Identity] {
            let arrived = Arc::new(AtomicUsize::new(0));
            let counted = arrived.clone();
            let observer = move |_: &Machine, touch| {
                if matches!(touch, Touch::Interrupted { .. }) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            };
            let len_bytes = 64 * PAGE;
            let file = tempfile::tempfile().unwrap();
            file.set_len(len_bytes).unwrap();
            let disk = NvmeConfig::new(file, len_bytes, Medium::ReadOnly);
            let config = with(RiscvConfig::default()).with_disk(disk);
            let machine = Machine::boot(config).unwrap();
            let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
            let mut rig = Rig::boot_on(machine, kernel, kernel, by(stage)).unwrap();

            let function = rig.computer.disks().next().expect("it is there").clone();
            let requester = Requester {
                segment: 0,
                id: function.requester(),
            };
            let device = rig.attach_trusted(requester, protection);
            let resources = rig.computer.resources_mut();
            let mut disk: Disk<Hosted> =
                Nvme::start(device, &function, resources, Settings::default()).unwrap();
            assert_eq!(*disk.completion_mode(), CompletionMode::Interrupt);
            let before = arrived.load(Ordering::Relaxed);
            let sink = |_: &[u8]| Ok::<(), Infallible>(());
            read_disk(&mut disk, &DiskOptions::default(), sink).unwrap();
            // A fast disk's data is there before its message is.
            let begun = std::time::Instant::now();
            while arrived.load(Ordering::Relaxed) == before && begun.elapsed().as_secs() < 100 {
                std::thread::yield_now();
            }
            let arrived = arrived.load(Ordering::Relaxed) - before;
            assert!(arrived > 0, "{protection:?} by {stage:?}");
            drop((disk, function));
            rig.finish();
        }
    }
}

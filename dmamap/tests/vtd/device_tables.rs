//! Root, context and PASID tables, as a unit meets them at every moment of a device's life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use board::hardware::Hardware;
use board::ram::Ram;
use dmamap::addr::DmaMask;
use dmamap::buffer::DmaBuffer;
use dmamap::map::Bidirectional;
use dmamap::system::Protection;
use hosted::Hosted;
use machine::bus::Access;
use machine::cache::{LINE_BYTES, Snooping};
use machine::iommu::translator::{Destination, Translator};
use machine::iommu::vtd::{CachingMode, Support, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};
use rig::modes::{WAYS, Way};
use rig::observed::{Observed, Observer, Touch};
use rig::{EDU, HEARTBEAT, PAGE, Rig, small};

/// Boots a machine that `observer` looks at, and that translates this way.
fn boot(config: MachineConfig, way: Way, observer: impl Observer) -> Rig {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    Rig::boot_on(machine, kernel, kernel, way.options()).unwrap()
}

fn not_snooping(unit: VtdConfig) -> MachineConfig {
    let walks = Snooping::Off;
    small().with_iommu(Iommu::Vtd { unit, walks })
}

/// Maps and unmaps a page for the device, `then` while it is mapped.
fn map_a_page(rig: &Rig, device: &dmamap::device::Device<Hosted>, then: impl FnOnce()) {
    device.set_mask(DmaMask::ALL).unwrap();
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    then();
    mapping.unmap().unwrap();
}

/// Lines as the CPU last wrote them back.
#[derive(Default)]
struct WrittenBack(Mutex<HashMap<u64, Vec<u8>>>);

impl WrittenBack {
    fn clean(&self, ram: &Ram, phys: u64, len_bytes: u64) {
        let first = phys / LINE_BYTES * LINE_BYTES;
        for line in (first..phys + len_bytes).step_by(LINE_BYTES as usize) {
            self.0.lock().unwrap().insert(line, line_of(ram, line));
        }
    }

    /// Asserts that whoever does not look into the caches sees all tables as they are.
    fn assert_holds_all_tables(&self, machine: &Machine) {
        let tables = machine.audit().table_frames;
        assert!(!tables.is_empty());
        for table in tables {
            for line in (table..table + PAGE).step_by(LINE_BYTES as usize) {
                let written_back = self.0.lock().unwrap().get(&line).cloned();
                let newest = line_of(machine.ram(), line);
                assert_eq!(
                    written_back,
                    Some(newest),
                    "a line of the table at {table:#x}"
                );
            }
        }
    }
}

fn line_of(ram: &Ram, line: u64) -> Vec<u8> {
    let mut bytes = vec![0; LINE_BYTES as usize];
    ram.read(line, &mut bytes).unwrap();
    bytes
}

#[test]
fn entries_reach_a_unit_that_does_not_snoop() {
    for way in WAYS {
        check_written_back(way);
    }
}

fn check_written_back(way: Way) {
    let lines = Arc::new(WrittenBack::default());
    let noted = lines.clone();
    let rig = boot(
        not_snooping(way.unit(VtdConfig::default())),
        way,
        move |machine: &Machine, touch| {
            if let Touch::Cleaned { phys, len_bytes } = touch {
                noted.clean(machine.ram(), phys, len_bytes);
            }
        },
    );
    let check = || lines.assert_holds_all_tables(&rig.machine);
    check();
    for requester in [EDU, HEARTBEAT] {
        let device = rig.attach(requester);
        check();
        map_a_page(&rig, &device, check);
        check();
        device.detach().unwrap();
        check();
    }
    rig.finish();
}

#[test]
fn an_entry_of_a_requester_is_never_met_half_written() {
    for way in WAYS {
        // With caching mode the unit finds domain id 0, which an entry has whose tag is not written yet.
        for caching_mode in [CachingMode::PresentOnly, CachingMode::NotPresentToo] {
            check_whole(way, caching_mode);
        }
    }
}

fn check_whole(way: Way, caching_mode: CachingMode) {
    // Each line is looked at as soon as it is written back, so between any two stores to an entry.
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    let unit = way.unit(VtdConfig {
        caching_mode,
        ..VtdConfig::default()
    });
    let config = not_snooping(unit).with_temper(Temper::Forget);
    let rig = boot(config, way, move |machine: &Machine, touch| {
        if !matches!(touch, Touch::Cleaned { .. }) {
            return;
        }
        for unit in machine.vtd_units() {
            let Err(fault) = unit.translate(EDU.id, 0x1000, Access::Read) else {
                continue;
            };
            let mut expected = way.not_yet().iter();
            assert!(
                expected.any(|reason| u16::from(reason.code()) == fault.reason),
                "{fault}"
            );
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    for _ in 0..3 {
        let device = rig.attach(EDU);
        map_a_page(&rig, &device, || {});
        device.detach().unwrap();
    }
    assert!(
        met.load(Ordering::Relaxed) > 20,
        "the unit was asked {met:?} times"
    );
    rig.finish_after_faults();
}

#[test]
fn what_firmware_left_at_work_is_never_refused() {
    let kinds = [Support::No, Support::Yes];
    for (way, pass_through) in WAYS
        .into_iter()
        .flat_map(|way| kinds.map(|kind| (way, kind)))
    {
        let unit = VtdConfig {
            pass_through,
            ..way.unit(VtdConfig::default())
        };
        let config = not_snooping(unit).with_temper(Temper::Forget);
        let rig = boot(config, way, |machine: &Machine, touch| {
            // Its region, at every moment the CPU could be interrupted.
            let region = machine.reserved_ram()[0].start;
            let unit = machine.vtd_units().nth(1).unwrap();
            match unit.translate(HEARTBEAT.id, region, Access::Write) {
                Ok(request) => match request.destination() {
                    Destination::Physical(phys) | Destination::Untranslated(phys) => {
                        assert_eq!(phys, region);
                    }
                },
                Err(fault) => panic!("{fault} after {touch:x?}"),
            }
        });
        for protection in [Protection::Strict, Protection::Identity] {
            let device = rig.attach_trusted(HEARTBEAT, protection);
            map_a_page(&rig, &device, || {});
            device.detach().unwrap();
        }
        assert_eq!(rig.machine.heartbeat().missed, 0);
        rig.finish();
    }
}

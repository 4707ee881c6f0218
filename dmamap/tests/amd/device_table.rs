//! The device table, as a unit meets it at every moment of a device's life.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use board::hardware::{Hardware, Width};
use dmamap::addr::DmaMask;
use dmamap::buffer::DmaBuffer;
use dmamap::map::Bidirectional;
use dmamap::system::Protection;
use hosted::Hosted;
use hw::amd::device_table::{DomainWord, MAX_ENTRIES, TranslationWord, entry_offset};
use hw::amd::regs::{self, DeviceTableBase};
use journeys::boot::BootOptions;
use machine::bus::Access;
use machine::cache::Snooping;
use machine::iommu::Unit;
use machine::iommu::amd::AmdConfig;
use machine::iommu::translator::{Destination, Translator};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};

use rig::observed::{Observed, Observer, Touch};
use rig::{EDU, HEARTBEAT, PAGE, Rig, small};

/// Boots a machine that `observer` looks at.
fn boot(config: MachineConfig, observer: impl Observer) -> Rig {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap()
}

/// Walks that do not snoop: each store to a table is followed by a touch.
fn not_snooping() -> MachineConfig {
    small().with_iommu(Iommu::Amd {
        unit: AmdConfig::default(),
        walks: Snooping::Off,
    })
}

fn map_a_page(rig: &Rig, device: &dmamap::device::Device<Hosted>) {
    device.set_mask(DmaMask::ALL).unwrap();
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    mapping.unmap().unwrap();
}

/// The first two words of the entry of `device`.
fn entry(machine: &Machine, device: u16) -> (TranslationWord, DomainWord) {
    let unit = machine.amd_units().next().unwrap();
    let base = unit.read_register(regs::DEVICE_TABLE_BASE, Width::Qword);
    let at = DeviceTableBase::from_bits(base).base() + entry_offset(device);
    let word = |at| machine.ram().load_u64(at).unwrap();
    (
        TranslationWord::from_bits(word(at)),
        DomainWord::from_bits(word(at + 8)),
    )
}

#[test]
fn every_device_is_blocked_from_the_beginning_but_those_firmware_left_at_work() {
    let rig = Rig::boot(small().with_iommu(rig::amd(AmdConfig::default())));
    for device in (0..MAX_ENTRIES).map(|device| device as u16) {
        let (translation, _) = entry(&rig.machine, device);
        assert!(translation.v() && translation.tv());
        let open = translation.ir() || translation.iw();
        assert_eq!(open, device == HEARTBEAT.id, "{device:#06x}");
    }
    rig.finish();
}

#[test]
fn a_detached_device_is_blocked_again() {
    let rig = Rig::boot(small().with_iommu(rig::amd(AmdConfig::default())));
    let device = rig.attach(EDU);
    let (translation, domain) = entry(&rig.machine, EDU.id);
    assert!(translation.ir() && translation.iw() && translation.mode() >= 3);
    assert_ne!(domain.domainid(), 0);
    device.detach().unwrap();
    let (translation, domain) = entry(&rig.machine, EDU.id);
    assert_eq!(
        translation,
        TranslationWord::new().with_v(true).with_tv(true)
    );
    assert_eq!(domain, DomainWord::new(), "its id may be another's now");
    rig.finish();
}

#[test]
fn entries_reach_a_unit_that_does_not_snoop() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let rig = Rig::boot(not_snooping().with_temper(temper));
        for requester in [EDU, HEARTBEAT, EDU] {
            let device = rig.attach(requester);
            map_a_page(&rig, &device);
            device.detach().unwrap();
        }
        // Poison, had anything not been written back.
        rig.finish();
    }
}

#[test]
fn an_entry_is_never_met_half_written() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(9)] {
        let met = Arc::new(AtomicUsize::new(0));
        let counted = met.clone();
        let rig = boot(
            not_snooping().with_temper(temper),
            move |machine: &Machine, touch| {
                if !matches!(touch, Touch::Cleaned { .. }) {
                    return;
                }
                let Some(unit) = machine.amd_units().next() else {
                    return;
                };
                match unit.translate(EDU.id, 0, Access::Read) {
                    Ok(request) => assert_eq!(
                        request.destination(),
                        Destination::Untranslated(0),
                        "only before the unit is on"
                    ),
                    Err(fault) => assert_eq!(fault.reason, 2, "{fault}"),
                }
                counted.fetch_add(1, Ordering::Relaxed);
            },
        );
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
    let config = not_snooping().with_temper(Temper::Forget);
    let rig = boot(config, |machine: &Machine, touch| {
        // Its region, at every moment the CPU could be interrupted.
        let region = machine.reserved_ram()[0].start;
        let unit = machine.amd_units().next().unwrap();
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
        map_a_page(&rig, &device);
        device.detach().unwrap();
    }
    assert_eq!(rig.machine.heartbeat().missed, 0);
    rig.finish();
}

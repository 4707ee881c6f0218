//! Every journey, and a disk, behind every kind of IOMMU.

use std::convert::Infallible;
use std::os::unix::fs::FileExt;

use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::virtio::{Slot, VirtioBlock};
use drivers::virtio_slot;
use hosted::Hosted;
use hw::virtio::block;
use journeys::boot::BootOptions;
use journeys::catalogue::virtio_journeys;
use journeys::virtio_disk::read_virtio_disk;
use journeys::virtio_gpu::{pixel_byte, virtio_gpu};
use machine::cache::Snooping;
use machine::device::nvme::Medium;
use machine::device::virtio::{VirtioDeviceConfig, VirtioKind};
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use crate::{attach, detach, with_all};
use rig::Rig;
use rig::disks::{bytes_at, test_file};

const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(1)];

/// An IOMMU, which of its stages is to be used, and whether devices see the CPU's caches.
type Place = (&'static str, Iommu, Option<Stage>, Snooping);

fn places() -> Vec<Place> {
    let snoops = Snooping::On;
    let vtd = |scalable, walks| Iommu::Vtd {
        unit: VtdConfig {
            scalable,
            ..VtdConfig::default()
        },
        walks,
    };
    let smmu = |walks| Iommu::Smmu {
        unit: SmmuConfig::default(),
        walks,
    };
    let amd = |walks| Iommu::Amd {
        unit: AmdConfig::default(),
        walks,
    };
    let riscv = || Iommu::Riscv {
        unit: RiscvConfig::default(),
        walks: snoops,
    };
    let scalable = || Some(ScalableMode::default());
    let unit = VirtioConfig::default();
    let (first, second) = (Some(Stage::First), Some(Stage::Second));
    vec![
        ("vtd", vtd(None, snoops), None, snoops),
        (
            "vtd, walks do not snoop",
            vtd(None, Snooping::Off),
            None,
            snoops,
        ),
        (
            "vtd scalable, first stage",
            vtd(scalable(), snoops),
            first,
            snoops,
        ),
        (
            "vtd scalable, second stage",
            vtd(scalable(), snoops),
            second,
            snoops,
        ),
        ("amd", amd(snoops), None, snoops),
        ("amd, walks do not snoop", amd(Snooping::Off), None, snoops),
        ("smmu stage 1", smmu(snoops), first, snoops),
        (
            "smmu stage 2, walks do not snoop",
            smmu(Snooping::Off),
            second,
            snoops,
        ),
        ("riscv first stage", riscv(), first, snoops),
        ("riscv second stage", riscv(), second, snoops),
        ("virtio", Iommu::Virtio { unit }, None, snoops),
        ("none", Iommu::None, None, snoops),
        (
            "vtd, devices do not snoop",
            vtd(None, snoops),
            None,
            Snooping::Off,
        ),
        (
            "smmu, nothing snoops",
            smmu(Snooping::Off),
            first,
            Snooping::Off,
        ),
        (
            "none, devices do not snoop",
            Iommu::None,
            None,
            Snooping::Off,
        ),
    ]
}

fn on_every_computer(
    tempers: &[Temper],
    with: impl Fn(MachineConfig) -> MachineConfig,
    test: impl Fn(&mut Rig, &str),
) {
    for &temper in tempers {
        for (name, iommu, stage, devices) in places() {
            let has_iommu = !matches!(iommu, Iommu::None);
            let config = MachineConfig::default()
                .with_iommu(iommu)
                .with_devices(devices)
                .with_temper(temper);
            let options = BootOptions {
                units: UnitSettings {
                    stage,
                    ..UnitSettings::default()
                },
                ..BootOptions::default()
            };
            let mut rig = Rig::boot_with(with(config), options);
            assert_eq!(rig.computer.has_iommu(), has_iommu, "{name}");
            test(&mut rig, name);
            rig.finish();
        }
    }
}

#[test]
fn every_virtio_journey_is_made() {
    virtio_slot! { struct Place(Hosted); }
    on_every_computer(&TEMPERS, with_all, |rig, name| {
        for journey in virtio_journeys::<Place>() {
            // SAFETY: nobody else drives the machine, and its devices keep to what they are told.
            let made = unsafe { journey.run(&mut rig.computer) };
            made.unwrap_or_else(|error| panic!("{name}: {}: {error}", journey.name));
            assert!(Place::place().is_empty(), "{name}: {}", journey.name);
        }
        for device in rig.machine.virtio_devices() {
            assert!(device.answered() > 0, "{name}");
        }
    });
}

#[test]
fn the_screen_shows_what_was_drawn() {
    virtio_slot! { struct Place(Hosted); }
    on_every_computer(&TEMPERS[..1], with_all, |rig, name| {
        let machine = rig.machine.clone();
        let see = |width, height| {
            let devices = machine.virtio_devices().iter();
            let mut pictures = devices.filter_map(|device| device.picture());
            let picture = pictures.next().expect("something is shown");
            assert_eq!((picture.width, picture.height), (width, height), "{name}");
            let mut pixels = picture.pixels.iter().enumerate();
            assert!(pixels.all(|(at, &byte)| byte == pixel_byte(at)), "{name}");
        };
        // SAFETY: as above.
        let report = unsafe { virtio_gpu::<Place>(&mut rig.computer, see) }.expect(name);
        assert_eq!((report.width, report.height), (320, 200), "{name}");
    });
}

#[test]
fn a_disk_is_read_and_written_whole() {
    const LEN_BYTES: u64 = (1 << 20) + 512;
    virtio_slot! { struct Disk(Hosted); }
    let file = test_file(LEN_BYTES);
    let with = |config: MachineConfig| {
        let file = file.try_clone().expect("a file can be shared");
        let kind = VirtioKind::Block(file, Medium::ReadWrite);
        config.with_virtio(VirtioDeviceConfig::new(kind))
    };
    on_every_computer(&TEMPERS[1..], with, |rig, name| {
        let (device, function) = attach(rig, block::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut disk = VirtioBlock::<Disk>::start(device, &function, tree).expect(name);
        let mut at = 0;
        let report = read_virtio_disk(&mut disk, |bytes| {
            let mut wanted = vec![0; bytes.len()];
            bytes_at(at, &mut wanted);
            assert!(bytes == wanted, "{name}: it differs from byte {at} on");
            at += bytes.len() as u64;
            Ok::<(), Infallible>(())
        });
        assert_eq!(report.expect(name).len_bytes, LEN_BYTES, "{name}");
        // From the stack, and a part of it that begins anywhere.
        let mut sectors = [0x77; 2 * 512 + 9];
        disk.write(3, &sectors[5..5 + 1024]).expect(name);
        let mut found = [0; 1024];
        file.read_exact_at(&mut found, 3 * 512).expect("it is read");
        assert_eq!(found, [0x77; 1024], "{name}");
        bytes_at(3 * 512, &mut sectors[5..5 + 1024]);
        disk.write(3, &sectors[5..5 + 1024]).expect(name);
        detach(disk.stop().expect("nobody else uses it"));
        assert!(Disk::place().is_empty(), "{name}");
    });
}

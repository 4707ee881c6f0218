//! A device that snoops among others that do not, and what each has to be given.

use dmamap::buffer::DmaBuffer;
use dmamap::device::{Coherence, Figures};
use dmamap::iommu::Requester;
use dmamap::map::{Bidirectional, Direction, FromDevice, ToDevice};
use drivers::edu::Edu;
use hosted::{Forgetful, Hosted};
use journeys::boot::{BootOptions, MachineDescription, boot};
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;
use machine::{Iommu, Machine};

use crate::rig::{Rig, TEMPERS, config, iommus, read_and_check};
use rig::shut_down;

/// The port of the first disk.
const FULL_DISK: u8 = 1;

fn requester(id: u16) -> Requester {
    Requester { segment: 0, id }
}

#[test]
fn a_device_that_snoops_is_given_cached_memory_and_no_maintenance() {
    for (name, iommu) in iommus() {
        for temper in TEMPERS {
            let config = config(iommu.clone(), temper).with_snooping_device(FULL_DISK);
            let mut rig = Rig::boot(config);
            let full = rig.computer.disks().next().expect("a disk").requester();
            // SAFETY: so it is wired.
            unsafe {
                rig.computer
                    .system()
                    .set_coherence(requester(full), Coherence::Snooped);
            }
            let function = rig.computer.disks().next().expect("a disk").clone();
            let device = rig.attach(&function);
            assert_eq!(device.coherence(), Coherence::Snooped);
            device.detach().expect("it detaches");
            drop(function);
            let disk = rig.start_disk(0).expect("the disk comes up");
            read_and_check(disk).unwrap_or_else(|error| panic!("{name} {temper:?}: {error}"));
            rig.write()
                .unwrap_or_else(|error| panic!("{name} {temper:?}: {error}"));
            rig.finish();
        }
    }
}

#[test]
fn what_a_table_says_counts_where_the_bridge_is_said_to_be_coherent() {
    let said = |iommu, devices| {
        let machine = Machine::boot(config(iommu, TEMPERS[0]).with_devices(devices));
        let machine = machine.expect("the machine is sound");
        let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
        let bridge = kernel
            .host_bridges()
            .expect("the bridge is sound")
            .remove(0);
        let description = MachineDescription {
            rsdp: kernel.rsdp().expect("the machine has ACPI"),
            host_bridge: bridge.with_coherence(Coherence::Snooped),
        };
        // SAFETY: the description is the machine's own, but for what is not asked of its devices here.
        let computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default()) };
        let computer = computer.expect("the computer boots");
        let coherence = computer.system().bridges()[0].coherence();
        shut_down(&computer);
        drop(computer);
        machine.shutdown();
        assert!(kernel.shutdown().is_clean());
        coherence
    };
    let smmu = Iommu::Smmu {
        unit: SmmuConfig::default(),
        walks: Snooping::On,
    };
    assert_eq!(said(smmu.clone(), Snooping::Off), Coherence::NotSnooped);
    assert_eq!(said(smmu, Snooping::On), Coherence::Snooped);
    assert_eq!(
        said(Iommu::None, Snooping::Off),
        Coherence::Snooped,
        "no table has a word for it"
    );
}

#[test]
fn the_last_word_on_a_device_holds_from_its_next_attachment() {
    let mut rig = Rig::boot(config(Iommu::None, TEMPERS[0]).with_ram(64 << 20));
    let function = rig.computer.edus().next().expect("a device").clone();
    let said = [Coherence::Snooped, Coherence::NotSnooped];
    for coherence in said {
        let before = rig.attach(&function);
        let was = before.coherence();
        // SAFETY: the device does no DMA in this test.
        unsafe {
            rig.computer
                .system()
                .set_coherence(requester(function.requester()), coherence);
        }
        assert_eq!(before.coherence(), was);
        before.detach().expect("it detaches");
        let after = rig.attach(&function);
        assert_eq!(after.coherence(), coherence);
        after.detach().expect("it detaches");
    }
    drop(function);
    rig.read().expect("the disk's coherence is the bridge's");
    rig.finish();
}

#[test]
fn a_device_that_is_taken_for_one_that_snoops_is_not_seen() {
    let mut rig = Rig::boot(config(Iommu::None, TEMPERS[0]).with_ram(64 << 20));
    let id = rig.computer.edus().next().expect("a device").requester();
    for (coherence, arrives) in [(Coherence::NotSnooped, true), (Coherence::Snooped, false)] {
        // SAFETY: the second is not true: what comes of it is what this test is about, and it looks at bytes only.
        unsafe {
            rig.computer
                .system()
                .set_coherence(requester(id), coherence);
        }
        let mut edu = edu(&mut rig);
        let buffer = DmaBuffer::allocate(rig.platform, 4096).expect("memory");
        let mut mapping = edu
            .device()
            .map_single(buffer, Bidirectional)
            .expect("it is mapped");
        mapping
            .sync_for_cpu()
            .write_at(0, &[7; 64])
            .expect("in bounds");
        edu.fetch(&mapping, 0, 64).expect("the device reads");
        edu.store(&mapping, 64, 64).expect("the device writes");
        let buffer = mapping.unmap().expect("it comes back");
        assert_eq!(
            buffer.as_slice()[64..128] == [7; 64],
            arrives,
            "{coherence:?}"
        );
        drop(buffer);
        edu.stop().detach().expect("it detaches");
    }
    rig.finish();
}

fn edu(rig: &mut Rig) -> Edu<Forgetful<Hosted>> {
    let function = rig.computer.edus().next().expect("a device").clone();
    let device = rig.attach(&function);
    Edu::start(device, &function, rig.computer.resources_mut()).expect("the device comes up")
}

/// Bytes cleaned and invalidated between two looks at a device's figures.
fn maintained(before: Figures, after: Figures) -> (u64, u64) {
    (
        after.cleaned_bytes - before.cleaned_bytes,
        after.invalidated_bytes - before.invalidated_bytes,
    )
}

#[test]
fn maintenance_is_what_the_direction_needs_and_is_counted() {
    let mut rig = Rig::boot(config(Iommu::None, TEMPERS[0]).with_ram(64 << 20));
    let edu = edu(&mut rig);
    // Mapping cleans whole frames. Then: a look at 200 bytes, and unmapping.
    assert_eq!(cost(&rig, &edu, ToDevice), [(4096, 0), (200, 0), (0, 0)]);
    assert_eq!(
        cost(&rig, &edu, FromDevice),
        [(4096, 0), (0, 200), (0, 300)]
    );
    assert_eq!(
        cost(&rig, &edu, Bidirectional),
        [(4096, 0), (200, 200), (0, 300)]
    );
    let of_machine = rig.machine.caches().expect("the machine has caches");
    let figures = edu.device().figures();
    assert!(of_machine.cleaned_lines >= figures.cleaned_bytes / 64);
    assert!(of_machine.invalidated_lines >= figures.invalidated_bytes / 64);
    edu.stop().detach().expect("it detaches");
    rig.finish();
}

/// What a mapping of 300 bytes costs at map, in a view of 200 of them, and at unmap.
fn cost(rig: &Rig, edu: &Edu<Forgetful<Hosted>>, direction: impl Direction) -> [(u64, u64); 3] {
    let figures = || edu.device().figures();
    let buffer = DmaBuffer::allocate(rig.platform, 300).expect("memory");
    let before = figures();
    let mut mapping = edu
        .device()
        .map_single(buffer, direction)
        .expect("it is mapped");
    assert!(mapping.need_sync());
    let mapped = figures();
    drop(mapping.sync_range_for_cpu(50, 200).expect("in bounds"));
    let viewed = figures();
    mapping.unmap().expect("it comes back");
    [
        maintained(before, mapped),
        maintained(mapped, viewed),
        maintained(viewed, figures()),
    ]
}

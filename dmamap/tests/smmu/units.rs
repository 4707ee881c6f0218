//! Units of every kind: each serves its devices all their life, whatever it can and cannot do.

use dmamap::addr::DmaMask;
use dmamap::buffer::DmaBuffer;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::{Protection, Settings};
use hosted::Hosted;
use hw::smmu::regs::StreamTableLevels;
use hw::smmu::stream::Granule;
use journeys::boot::BootOptions;
use machine::bus::Access;
use machine::cache::Snooping;
use machine::iommu::smmu::{CoherenceTold, SmmuConfig, Stages, Support, WhileOff};
use machine::iommu::translator::{Destination, Translator};
use machine::{Iommu, MachineConfig};

use super::{STAGES, TEMPERS, boot, not_snooping, staged, with};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

/// A device's life: it moves data, over pages and large pages, is detached, and comes again.
fn live(rig: &mut Rig) {
    for round in 0..3 {
        let kernel = rig.kernel;
        let mut edu = rig.edu();
        edu.device().set_mask(DmaMask::ALL).unwrap();
        for pages in [1, 3, 17] {
            let source = buffer_of(kernel, pages * PAGE, 0x40 + round);
            let source = edu.device().map_single(source, ToDevice).unwrap();
            let target = buffer_of(kernel, pages * PAGE, 0);
            let target = edu.device().map_single(target, FromDevice).unwrap();
            // SAFETY: both are mapped for the device, the first to be read, the second to be written.
            unsafe {
                edu.fetch_at(source.bus_addr(), PAGE).unwrap();
                edu.store_at(target.bus_addr(), PAGE).unwrap();
            }
            source.unmap().unwrap();
            let target = target.unmap().unwrap();
            let expected = vec![0x40 + round; PAGE as usize];
            assert_eq!(&target.as_slice()[..PAGE as usize], expected);
        }
        large(edu.device(), kernel);
        drop(edu);
    }
}

/// A mapping that takes large leaves, unmapped again.
fn large(device: &dmamap::device::Device<Hosted>, kernel: Hosted) {
    let buffer = DmaBuffer::allocate(kernel, 4 << 20).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    mapping.unmap().unwrap();
}

fn check(unit: SmmuConfig) {
    check_on(with(unit), BootOptions::default());
}

fn check_on(config: MachineConfig, options: BootOptions) {
    let mut rig = Rig::boot_with(config, options);
    live(&mut rig);
    assert_eq!(rig.machine.heartbeat().missed, 0);
    rig.finish();
}

#[test]
fn either_stage_in_every_temper_with_and_without_snooping() {
    for stage in STAGES {
        for temper in TEMPERS {
            check_on(
                with(SmmuConfig::default()).with_temper(temper),
                staged(stage),
            );
            check_on(not_snooping().with_temper(temper), staged(stage));
        }
    }
}

#[test]
fn a_unit_with_one_stage_uses_that_one() {
    for stages in [Stages::First, Stages::Second] {
        check(SmmuConfig {
            stages,
            ..SmmuConfig::default()
        });
    }
}

#[test]
fn a_unit_without_invalidation_of_ranges() {
    for stage in STAGES {
        let unit = SmmuConfig {
            range_invalidation: Support::No,
            ..SmmuConfig::default()
        };
        check_on(with(unit), staged(stage));
    }
}

#[test]
fn a_unit_that_reads_linear_stream_tables_only() {
    check(SmmuConfig {
        stream_tables: StreamTableLevels::Linear,
        ..SmmuConfig::default()
    });
}

#[test]
fn a_unit_whose_streams_are_not_requester_ids() {
    for stage in STAGES {
        let unit = SmmuConfig {
            first_stream: 0x3_2100,
            stream_bits: 20,
            ..SmmuConfig::default()
        };
        check_on(with(unit), staged(stage));
    }
}

#[test]
fn a_unit_without_messages() {
    check(SmmuConfig {
        messages: Support::No,
        ..SmmuConfig::default()
    });
}

#[test]
fn a_unit_whose_coherence_only_firmware_knows() {
    check(SmmuConfig {
        coherence_told: CoherenceTold::ByFirmware,
        ..SmmuConfig::default()
    });
}

#[test]
fn units_of_every_output_width_that_holds_the_memory() {
    for stage in STAGES {
        for output_bits in [36, 40, 42, 44, 48] {
            let unit = SmmuConfig {
                output_bits,
                ..SmmuConfig::default()
            };
            check_on(with(unit), staged(stage));
        }
    }
}

#[test]
fn tables_of_three_and_four_levels() {
    for stage in STAGES {
        for levels in [3, 4] {
            let units = Settings {
                stage: Some(stage),
                table_levels: Some(levels),
                ..Settings::default()
            };
            let options = BootOptions {
                units,
                ..BootOptions::default()
            };
            check_on(with(SmmuConfig::default()), options);
        }
    }
}

#[test]
fn few_ids_and_small_queues_are_enough() {
    check(SmmuConfig {
        asid_bits: 8,
        vmid_bits: 8,
        command_queue_log2: 8,
        event_queue_log2: 2,
        ..SmmuConfig::default()
    });
}

#[test]
fn a_unit_that_has_large_granules_too_uses_the_smallest() {
    for granules in [
        vec![Granule::Size4K],
        vec![Granule::Size64K, Granule::Size4K],
    ] {
        check(SmmuConfig {
            granules,
            ..SmmuConfig::default()
        });
    }
}

#[test]
fn identity_reaches_all_memory_at_its_own_address() {
    for stage in STAGES {
        for temper in TEMPERS {
            let config = with(SmmuConfig::default()).with_temper(temper);
            let mut rig = Rig::boot_with(config, staged(stage));
            let unit = super::model(&rig);
            let reach = |bus| match unit.translate(EDU.id, bus, Access::Write) {
                Ok(request) => Some(request.destination()),
                Err(_) => None,
            };
            for _ in 0..2 {
                let device = rig.attach_trusted(EDU, Protection::Identity);
                for phys in [0x1000, 0x7fff_0000, 0x1_0000_0000] {
                    assert!(
                        matches!(
                            reach(phys),
                            Some(Destination::Physical(at) | Destination::Untranslated(at))
                                if at == phys
                        ),
                        "{phys:#x}"
                    );
                }
                drop(device);
                // And confined after that, and before.
                assert_eq!(reach(0x1000), None);
                drop(rig.edu());
                assert_eq!(reach(0x1000), None);
            }
            rig.finish_after_faults();
        }
    }
}

#[test]
fn units_can_be_stopped_and_keep_what_firmware_had() {
    for while_off in [WhileOff::Bypass, WhileOff::Abort] {
        let unit = SmmuConfig {
            while_off,
            ..SmmuConfig::default()
        };
        let config = with(unit);
        let rig = Rig::boot(config);
        drop(rig.attach(HEARTBEAT));
        let bypass = |rig: &Rig| {
            use board::hardware::{Hardware, Width};
            rig.machine.read(super::UNIT.as_u64() + 0x44, Width::Dword) & 1 << 20
        };
        let expected = match while_off {
            WhileOff::Bypass => 0,
            WhileOff::Abort => 1 << 20,
        };
        assert_eq!(bypass(&rig), expected);
        // SAFETY: every device was detached, and models obey their bus-master bit.
        unsafe { rig.system().shutdown() }.expect("the units stop");
        assert_eq!(bypass(&rig), expected);
        rig.assert_no_findings();
        rig.abandon();
    }
}

#[test]
fn a_unit_is_reset_with_live_domains() {
    for stage in STAGES {
        for temper in TEMPERS {
            for walks in [Snooping::On, Snooping::Off] {
                let unit = SmmuConfig::default();
                let config = small()
                    .with_temper(temper)
                    .with_iommu(Iommu::Smmu { unit, walks });
                let mut rig = Rig::boot_with(config, staged(stage));
                let kernel = rig.kernel;
                let mut edu = rig.edu();
                let target = buffer_of(kernel, PAGE, 0);
                let target = edu.device().map_single(target, FromDevice).unwrap();
                for _ in 0..3 {
                    // SAFETY: nobody makes the devices do anything meanwhile but the heartbeat, which may be refused.
                    unsafe { rig.system().restart_units() }.expect("the unit restarts");
                    // SAFETY: it is mapped for the device to be written.
                    unsafe { edu.store_at(target.bus_addr(), 64).unwrap() };
                }
                target.unmap().unwrap();
                drop(edu);
                rig.finish_after_faults();
            }
        }
    }
}

#[test]
fn devices_of_different_groups_share_no_domain() {
    for stage in STAGES {
        let rig = boot(stage);
        let (edu, heartbeat) = (rig.attach(EDU), rig.attach(HEARTBEAT));
        let mapping = edu
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        let unit = super::model(&rig);
        assert!(unit.translate(EDU.id, bus, Access::Read).is_ok());
        assert!(unit.translate(HEARTBEAT.id, bus, Access::Read).is_err());
        drop(mapping);
        drop((edu, heartbeat));
        rig.finish_after_faults();
    }
}

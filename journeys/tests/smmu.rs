//! Journeys on computers with an Arm SMMU, of every form a unit may have.

use dmamap::buffer::DmaBuffer;
use dmamap::map::ToDevice;
use dmamap::system::{Granule as UnitGranule, Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hw::smmu::event::EventKind;
use hw::smmu::regs::StreamTableLevels;
use journeys::boot::BootOptions;
use journeys::differential::differential;
use journeys::reserved_memory::reserved_memory;
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;
use machine::iommu::smmu::{SmmuConfig, Stages, Support};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::{read_and_check, test_disk};

const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(1)];

const STAGES: [Stage; 2] = [Stage::First, Stage::Second];

/// Units that differ in all that a driver must heed.
fn units() -> [SmmuConfig; 3] {
    let ordinary = SmmuConfig::default();
    let plain = SmmuConfig {
        range_invalidation: Support::No,
        messages: Support::No,
        stream_tables: StreamTableLevels::Linear,
        asid_bits: 8,
        vmid_bits: 8,
        output_bits: 40,
        command_queue_log2: 8,
        event_queue_log2: 3,
        ..ordinary.clone()
    };
    let shifted = SmmuConfig {
        first_stream: 0x2_4000,
        stream_bits: 18,
        output_bits: 48,
        ..ordinary.clone()
    };
    [ordinary, plain, shifted]
}

fn computer(unit: SmmuConfig, walks: Snooping, temper: Temper) -> MachineConfig {
    MachineConfig::default()
        .with_iommu(Iommu::Smmu { unit, walks })
        .with_temper(temper)
}

fn by(stage: Stage) -> BootOptions {
    BootOptions {
        units: UnitSettings {
            stage: Some(stage),
            ..UnitSettings::default()
        },
        ..BootOptions::default()
    }
}

/// Runs `journey` by either stage: on the ordinary unit in every temper, with walks that snoop and walks that do not, and
/// on the others.
fn on_every_computer(journey: impl Fn(&mut Rig)) {
    let [ordinary, others @ ..] = units();
    let mut computers = Vec::new();
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            computers.push(computer(ordinary.clone(), walks, temper));
            computers.push(computer(ordinary.clone(), walks, temper));
        }
    }
    for unit in others {
        computers.push(computer(unit.clone(), Snooping::On, Temper::Keep));
        computers.push(computer(unit, Snooping::On, Temper::Keep));
    }
    for (config, stage) in computers.into_iter().zip(STAGES.into_iter().cycle()) {
        let config = config.with_disk(test_disk(4096));
        let mut rig = Rig::boot_with(config, by(stage));
        journey(&mut rig);
        rig.finish_after_faults();
    }
}

#[test]
fn every_journey_of_the_catalogue_is_made_on_every_unit() {
    on_every_computer(|rig| {
        rig.make_every_journey("smmu");
    });
}

#[test]
fn a_refusal_tells_that_there_is_no_translation() {
    for stage in STAGES {
        let config = computer(SmmuConfig::default(), Snooping::On, Temper::Keep);
        let mut rig = Rig::boot_with(config.with_disk(test_disk(4096)), by(stage));
        let attempt = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
        let refused = attempt.refused().expect("it is refused");
        let kind = EventKind::Translation;
        assert_eq!(refused.fault.reason.code, u16::from(kind.code()));
        assert_eq!(refused.fault.reason.text, kind.text());
        assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
        rig.finish_after_faults();
    }
}

#[test]
fn disks_are_read_whole_and_raise_interrupts_by_either_stage() {
    for stages in [Stages::First, Stages::Second, Stages::Both] {
        for temper in TEMPERS {
            for walks in [Snooping::On, Snooping::Off] {
                let len_bytes = (3 << 20) + 77;
                let unit = SmmuConfig {
                    stages,
                    ..SmmuConfig::default()
                };
                let config = computer(unit, walks, temper).with_disk(test_disk(len_bytes));
                let mut rig = Rig::boot(config);
                let mut disk = rig.start_disk(0, Settings::default());
                read_and_check(&mut disk, len_bytes);
                disk.shutdown()
                    .expect("the disk shuts down")
                    .detach()
                    .expect("the disk detaches");
                rig.finish();
            }
        }
    }
}

#[test]
fn a_thousand_random_steps_agree_on_every_temper() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    // By stage 2: stage 1 has no pages that can be written and not read, which the oracle counts on.
    for temper in TEMPERS {
        let config = computer(SmmuConfig::default(), Snooping::On, temper);
        let mut rig = Rig::boot_with(config.with_disk(test_disk(4096)), by(Stage::Second));
        let report = differential(&mut rig.computer, seed, 1_000);
        let report = report.unwrap_or_else(|error| panic!("{temper:?}: {error}"));
        assert!(report.allowed > 100 && report.refused > 100, "{report:?}");
        rig.finish_after_faults();
    }
}

#[test]
fn firmwares_region_and_the_message_window_are_kept() {
    let config = computer(SmmuConfig::default(), Snooping::On, Temper::Keep);
    let mut rig = Rig::boot(config.with_disk(test_disk(4096)));
    let found = reserved_memory(&mut rig.computer).expect("everything reserved is kept");
    // The message window for every device, and the region of the one firmware left at work.
    assert_eq!(found.direct, found.devices + 1, "{found:?}");
    assert_eq!(rig.machine.heartbeat().missed, 0);
    rig.finish();
}

#[test]
fn every_journey_is_made_with_pages_larger_than_frames() {
    for granule in [UnitGranule::SixteenKib, UnitGranule::SixtyFourKib] {
        for (stage, temper) in STAGES.into_iter().cycle().zip(TEMPERS) {
            let config = computer(SmmuConfig::default(), Snooping::On, temper);
            let mut options = by(stage);
            options.units.granule = Some(granule);
            let config = config.with_disk(test_disk(4096));
            let mut rig = Rig::boot_with(config, options);
            rig.make_every_journey(&format!("{granule:?}, {stage:?}, {temper:?}"));
            let report = differential(&mut rig.computer, 7, 300);
            report.unwrap_or_else(|error| panic!("{granule:?}, {stage:?}, {temper:?}: {error}"));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_frame_is_copied_where_pages_are_larger() {
    let mut options = by(Stage::First);
    options.units.granule = Some(UnitGranule::SixtyFourKib);
    let config = computer(SmmuConfig::default(), Snooping::On, Temper::Keep);
    let rig = Rig::boot_with(config.with_disk(test_disk(4096)), options);
    let device = rig.attach_disk(0);
    assert_eq!(device.page_bytes(), 64 << 10);
    // The rest of the page would be somebody else's.
    let frame = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
    let in_place = frame.phys(0);
    let mapping = device.map_single(frame, ToDevice).expect("it is copied");
    assert_ne!(device.translate(mapping.bus_addr()), in_place);
    drop(mapping);
    assert_eq!(device.figures().bounced_bytes, 4096);
    let page = DmaBuffer::allocate_for(&device, 4096).expect("there is memory");
    drop(device.map_single(page, ToDevice).expect("it is a page"));
    let shared = device
        .alloc_coherent::<u64>(8)
        .expect("coherent memory is whole pages");
    drop(shared);
    device.detach().expect("the device is detached");
    rig.finish();
}

//! Journeys on computers with a RISC-V IOMMU, of every form a unit may have.

use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hw::riscv::directory::ContextFormat;
use hw::riscv::fault::Cause;
use journeys::boot::BootOptions;
use journeys::reserved_memory::reserved_memory;
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;
use machine::iommu::riscv::{AtReset, Extension, RiscvConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::{read_and_check, test_disk};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// Units that differ in all that a driver must heed.
fn units() -> [RiscvConfig; 4] {
    let ordinary = RiscvConfig::default();
    let base = RiscvConfig {
        context_format: ContextFormat::Base,
        directory_levels: vec![2],
        first_stage_levels: 3,
        second_stage_levels: 3,
        at_reset: AtReset::Bare,
        ..ordinary.clone()
    };
    let extended = RiscvConfig {
        non_leaf_invalidation: Extension::Present,
        range_invalidation: Extension::Present,
        ..ordinary.clone()
    };
    let narrow = RiscvConfig {
        directory_levels: vec![1, 3],
        first_stage_levels: 0,
        second_stage_levels: 4,
        ..ordinary.clone()
    };
    [ordinary, base, extended, narrow]
}

fn computer(unit: RiscvConfig, temper: Temper) -> MachineConfig {
    let walks = Snooping::On;
    MachineConfig::default()
        .with_iommu(Iommu::Riscv { unit, walks })
        .with_temper(temper)
}

fn by(stage: Option<Stage>) -> BootOptions {
    BootOptions {
        units: UnitSettings {
            stage,
            ..UnitSettings::default()
        },
        ..BootOptions::default()
    }
}

#[test]
fn every_journey_of_the_catalogue_is_made_on_every_unit() {
    for unit in units() {
        for temper in TEMPERS {
            let config = computer(unit.clone(), temper).with_disk(test_disk(4096));
            let mut rig = Rig::boot(config);
            rig.make_every_journey(&format!("{temper:?}"));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_refusal_tells_the_stage() {
    for (stage, cause) in [
        (None, Cause::WritePageFault),
        (Some(Stage::First), Cause::WritePageFault),
        (Some(Stage::Second), Cause::WriteGuestPageFault),
    ] {
        let config = computer(RiscvConfig::default(), Temper::Keep).with_disk(test_disk(4096));
        let mut rig = Rig::boot_with(config, by(stage));
        let attempt = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
        let refused = attempt.refused().expect("it is refused");
        assert_eq!(refused.fault.reason.code, cause.code());
        assert_eq!(refused.fault.reason.text, cause.text());
        assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
        rig.finish_after_faults();
    }
}

#[test]
fn disks_are_read_whole_and_raise_interrupts_by_either_stage() {
    for unit in units() {
        for temper in TEMPERS {
            for stage in [None, Some(Stage::Second)] {
                let len_bytes = (3 << 20) + 77;
                let config = computer(unit.clone(), temper).with_disk(test_disk(len_bytes));
                let mut rig = Rig::boot_with(config, by(stage));
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
fn the_message_window_is_kept_for_every_device() {
    let config = computer(RiscvConfig::default(), Temper::Keep).with_disk(test_disk(4096));
    let mut rig = Rig::boot(config);
    let found = reserved_memory(&mut rig.computer).expect("everything reserved is kept");
    assert_eq!(found.direct, found.devices, "{found:?}");
    // Both windows of the host bridge.
    assert_eq!(found.unmappable, 2 * found.devices, "{found:?}");
    rig.finish();
}

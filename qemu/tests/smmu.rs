//! The SMMU of QEMU's Arm boards, with either stage, and what it says of what it refuses.

mod support;

use dmamap::iommu::fault::Access;
use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hw::smmu::context::Cd0;
use hw::smmu::page_table::{Stage1, Stage2};
use hw::smmu::stream::{Config, Level1Descriptor, Ste0, Ste2};
use qemu::{Disk, Medium};
use rig::disks::{read_and_check, test_file};
use support::Rig;
use support::refusal::{Attempt, Refusal, Tables, refuse};
use support::walk::smmu::{leaf, level1_descriptor, stream_entry};

const MIB: u64 = 1 << 20;

const BOARDS: [&str; 3] = ["arm-smmu-stage1", "arm-smmu-stage2", "arm-smmu-nested"];

#[test]
fn a_disk_is_read_through_either_stage() {
    for board in BOARDS {
        let with = |config: qemu::QemuConfig| {
            config.with_disk(Disk::nvme(test_file(4 * MIB), Medium::ReadOnly))
        };
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        assert!(rig.computer.has_iommu(), "{board}");
        let mut disk = rig.start_disk(0, Settings::default());
        read_and_check(&mut disk, 4 * MIB);
        disk.shutdown()
            .expect("the disk stops")
            .detach()
            .expect("it is detached");
        rig.finish();
    }
}

/// Each board with each stage it has.
const STAGES: [(&str, Stage); 4] = [
    ("arm-smmu-stage1", Stage::First),
    ("arm-smmu-stage2", Stage::Second),
    ("arm-smmu-nested", Stage::First),
    ("arm-smmu-nested", Stage::Second),
];

/// Makes `attempt` by each stage, and has `check` look at how it was refused.
fn each_stage(
    attempt: Attempt,
    alter: impl Fn(&mut Tables<'_>),
    check: impl Fn(&str, Stage, Refusal),
) {
    for (board, stage) in STAGES {
        let settings = UnitSettings {
            stage: Some(stage),
            ..UnitSettings::default()
        };
        let alter = |tables: &mut Tables<'_>| {
            let config = stream_entry(tables).1.word0.config();
            let expected = match stage {
                Stage::First => Config::Stage1,
                Stage::Second => Config::Stage2,
            };
            assert_eq!(config, expected, "{board}");
            alter(tables);
        };
        let Some(refusal) = refuse(board, settings, attempt, alter) else {
            return;
        };
        check(&format!("{board}, {stage:?}, {attempt:?}"), stage, refusal);
    }
}

fn alter_nothing(_: &mut Tables<'_>) {}

#[test]
fn what_is_not_mapped_has_no_translation() {
    for attempt in [Attempt::ReadUnmapped, Attempt::WriteUnmapped] {
        each_stage(attempt, alter_nothing, |context, _, refusal| {
            refusal.check(context, 0x10, "no translation");
        });
    }
}

#[test]
fn a_leaf_that_is_not_valid_is_no_translation() {
    let clear_valid = |tables: &mut Tables<'_>| tables.alter(leaf(tables), |word| word & !1);
    each_stage(Attempt::Read, clear_valid, |context, _, refusal| {
        refusal.check(context, 0x10, "no translation");
    });
}

#[test]
fn a_write_to_what_may_be_read_is_not_permitted() {
    each_stage(
        Attempt::WriteReadOnly,
        alter_nothing,
        |context, _, refusal| refusal.check(context, 0x13, "not permitted"),
    );
}

#[test]
fn a_leaf_whose_access_flag_is_clear_says_so() {
    let clear_flag = |tables: &mut Tables<'_>| {
        let by_stage1 = stream_entry(tables).1.word0.config() == Config::Stage1;
        tables.alter(leaf(tables), |word| match by_stage1 {
            true => Stage1::from_bits(word).with_af(false).into_bits(),
            false => Stage2::from_bits(word).with_af(false).into_bits(),
        });
    };
    for attempt in [Attempt::Read, Attempt::Write] {
        each_stage(attempt, clear_flag, |context, _, refusal| {
            refusal.check(context, 0x12, "access flag clear");
        });
    }
}

/// Checks a fault of the device's configuration: it tells neither where the request went nor what it tried (7.3).
fn check_configuration(context: &str, refusal: Refusal, code: u16, text: &str) {
    refusal.check_reason(context, code, text);
    let told = (refusal.fault.address.as_u64(), refusal.fault.access);
    assert_eq!(told, (0, Access::Unknown), "{context}");
}

#[test]
fn an_entry_that_is_not_valid_is_a_bad_entry() {
    let clear_valid = |tables: &mut Tables<'_>| {
        let (phys, _) = stream_entry(tables);
        tables.alter(phys, |word| Ste0::from_bits(word).with_v(false).into_bits());
    };
    each_stage(Attempt::Read, clear_valid, |context, _, refusal| {
        check_configuration(context, refusal, 0x04, "stream table entry invalid");
    });
}

#[test]
fn a_stream_beyond_its_array_is_a_bad_stream() {
    let empty_array = |tables: &mut Tables<'_>| {
        let level1 = level1_descriptor(tables).expect("the table has two levels");
        tables.alter(level1, |word| {
            Level1Descriptor::from_bits(word).with_span(0).into_bits()
        });
    };
    each_stage(Attempt::Read, empty_array, |context, _, refusal| {
        check_configuration(context, refusal, 0x02, "stream id outside the stream table");
    });
}

#[test]
fn a_stage_that_is_not_described_soundly_is_told_by_its_structure() {
    let spoil = |tables: &mut Tables<'_>| {
        let (phys, entry) = stream_entry(tables);
        match entry.word0.config() {
            Config::Stage1 => tables.alter(entry.word0.s1_context_ptr(), |word| {
                Cd0::from_bits(word).with_v(false).into_bits()
            }),
            _ => tables.alter(phys + 16, |word| {
                Ste2::from_bits(word).with_s2t0sz(0).into_bits()
            }),
        }
    };
    each_stage(Attempt::Read, spoil, |context, stage, refusal| {
        let (code, text) = match stage {
            Stage::First => (0x0a, "context descriptor invalid"),
            // Stage 2 is described by the entry itself.
            Stage::Second => (0x04, "stream table entry invalid"),
        };
        check_configuration(context, refusal, code, text);
    });
}

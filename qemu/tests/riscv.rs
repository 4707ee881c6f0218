//! QEMU's RISC-V IOMMU, as a platform device and as a PCI function, by either stage.

mod support;

use dmamap::bridge::PeerForwarding;
use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hosted::Hosted;
use hw::riscv::directory::{FirstStageMode, SecondStageMode, TranslationControl};
use hw::riscv::page_table::{self, Entry};
use journeys::boot::BootOptions;
use journeys::catalogue::journeys;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Disk, Medium};
use rig::boot_kernel;
use rig::disks::{read_and_check, test_file};
use support::refusal::{Attempt, Tables, refuse};
use support::walk::riscv::{context, leaf};
use support::{Rig, start};

const BOARDS: [&str; 2] = ["riscv-platform", "riscv-pci"];
const MIB: u64 = 1 << 20;

/// `board` with an educational device and a disk of `disk_len_bytes`, translated by `stage`.
fn boot_by(board: &str, stage: Stage, disk_len_bytes: u64) -> Option<Rig> {
    let qemu = start(board, |config| {
        config
            .with_edu()
            .with_disk(Disk::nvme(test_file(disk_len_bytes), Medium::ReadOnly))
    })?;
    let hosted = Hosted::boot(qemu.clone()).expect("the kernel boots");
    let options = BootOptions {
        units: UnitSettings {
            stage: Some(stage),
            ..UnitSettings::default()
        },
        ..BootOptions::default()
    };
    let computer = boot_kernel(hosted, hosted, options, PeerForwarding::Unknown);
    let computer = computer.unwrap_or_else(|error| panic!("no boot: {error}"));
    assert!(computer.has_iommu());
    Some(Rig {
        qemu,
        hosted,
        computer,
    })
}

#[test]
fn every_journey_of_the_catalogue_is_made_by_either_stage() {
    for board in BOARDS {
        for stage in [Stage::First, Stage::Second] {
            let Some(mut rig) = boot_by(board, stage, MIB) else {
                return;
            };
            for journey in journeys::<Hosted>() {
                if let Err(unmet) = journey.needs.check(&rig.computer) {
                    println!("{board}, {stage:?}: {}: {unmet}", journey.name);
                    continue;
                }
                // SAFETY: nobody else drives the computer.
                let outcome = unsafe { journey.run(&mut rig.computer) };
                outcome.unwrap_or_else(|error| {
                    panic!("{board}, {stage:?}: {}: {error}", journey.name)
                });
            }
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_disk_is_read_by_either_stage() {
    for board in BOARDS {
        for stage in [Stage::First, Stage::Second] {
            let Some(mut rig) = boot_by(board, stage, 2 * MIB) else {
                return;
            };
            let mut disk = rig.start_disk(0, Settings::default());
            read_and_check(&mut disk, 2 * MIB);
            disk.shutdown()
                .expect("the disk stops")
                .detach()
                .expect("it is detached");
            rig.finish();
        }
    }
}

#[test]
fn a_refusal_tells_who_how_and_why() {
    for board in BOARDS {
        for (stage, code, text) in [
            (Stage::First, 15, "write/AMO page fault"),
            (Stage::Second, 23, "write/AMO guest-page fault"),
        ] {
            let Some(mut rig) = boot_by(board, stage, MIB) else {
                return;
            };
            let attempt = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
            let refused = attempt.refused().expect("it is refused");
            let reason = refused.fault.reason;
            assert_eq!((reason.code, reason.text), (code, text), "{board}");
            rig.finish_after_faults();
        }
    }
}

/// Makes `attempt` on each board by each stage, and checks the reason it is refused for: the first stage's, the second's.
fn check(attempt: Attempt, alter: impl Fn(&mut Tables<'_>, Stage), reasons: [(u16, &str); 2]) {
    for board in BOARDS {
        for (stage, (code, text)) in [Stage::First, Stage::Second].into_iter().zip(reasons) {
            let settings = UnitSettings {
                stage: Some(stage),
                ..UnitSettings::default()
            };
            let alter = |tables: &mut Tables<'_>| {
                let (_, context) = context(tables);
                let first = context.fsc.mode() != FirstStageMode::Bare;
                assert_eq!(first, stage == Stage::First, "{board}");
                alter(tables, stage);
            };
            let Some(refusal) = refuse(board, settings, attempt, alter) else {
                return;
            };
            refusal.check(&format!("{board}, {stage:?}, {attempt:?}"), code, text);
        }
    }
}

const READ: [(u16, &str); 2] = [(13, "read page fault"), (21, "read guest-page fault")];
const WRITE: [(u16, &str); 2] = [
    (15, "write/AMO page fault"),
    (23, "write/AMO guest-page fault"),
];

#[test]
fn what_is_not_mapped_is_a_page_fault() {
    check(Attempt::ReadUnmapped, |_, _| {}, READ);
    check(Attempt::WriteUnmapped, |_, _| {}, WRITE);
}

#[test]
fn a_write_to_what_may_be_read_is_a_page_fault() {
    check(Attempt::WriteReadOnly, |_, _| {}, WRITE);
}

/// A page fault is all that is told of a leaf, whatever is wrong with it.
#[test]
fn a_bad_leaf_is_a_page_fault() {
    let leaves: [fn(Entry) -> Entry; 5] = [
        |leaf| leaf.with_v(false),
        |leaf| leaf.with_u(false),
        |leaf| leaf.with_a(false),
        // Writable and not readable.
        |leaf| leaf.with_r(false),
        |leaf| Entry::from_bits(leaf.into_bits() | page_table::RESERVED),
    ];
    for bad in leaves {
        let alter = |tables: &mut Tables<'_>, _| {
            tables.alter(leaf(tables), |word| bad(Entry::from_bits(word)).into_bits());
        };
        check(Attempt::Read, alter, READ);
    }
    let clean = |tables: &mut Tables<'_>, _| {
        tables.alter(leaf(tables), |word| {
            Entry::from_bits(word).with_d(false).into_bits()
        });
    };
    check(Attempt::Write, clean, WRITE);
}

#[test]
fn a_context_that_is_not_valid_is_told() {
    let clear_valid = |tables: &mut Tables<'_>, _| {
        let (phys, context) = context(tables);
        tables.alter(phys, |_| context.tc.with_v(false).into_bits());
    };
    check(
        Attempt::Read,
        clear_valid,
        [(258, "DDT entry not valid"); 2],
    );
}

#[test]
fn a_reserved_bit_of_a_context_is_a_misconfiguration() {
    let misconfigured = [(259, "DDT entry misconfigured"); 2];
    let reserved = |tables: &mut Tables<'_>, _| {
        let (phys, _) = context(tables);
        tables.alter(phys, |word| word | TranslationControl::RESERVED);
    };
    check(Attempt::Read, reserved, misconfigured);
}

/// QEMU calls it a misconfiguration of the second stage alone; the manual has 259 for both (2.1.4).
#[test]
fn a_mode_that_there_is_not_is_told() {
    let no_mode = |tables: &mut Tables<'_>, stage| {
        let (phys, context) = context(tables);
        match stage {
            Stage::First => tables.alter(phys + 24, |_| {
                let fsc = context.fsc.with_mode(FirstStageMode::Reserved);
                fsc.into_bits()
            }),
            Stage::Second => tables.alter(phys + 8, |_| {
                let iohgatp = context.iohgatp.with_mode(SecondStageMode::Reserved);
                iohgatp.into_bits()
            }),
        }
    };
    let reasons = [
        (258, "DDT entry not valid"),
        (259, "DDT entry misconfigured"),
    ];
    check(Attempt::Read, no_mode, reasons);
}

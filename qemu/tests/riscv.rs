//! QEMU's RISC-V IOMMU, as a platform device and as a PCI function, by either stage.

mod support;

use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hosted::Hosted;
use hw::riscv::directory::{
    ContextFormat, DeviceContext, DirectoryEntry, ENTRY_BYTES, FirstStage, FirstStageMode,
    SecondStage, SecondStageMode, TranslationControl,
};
use hw::riscv::page_table::{self, Entry};
use hw::riscv::regs::{self, Capabilities, Ddtp};
use journeys::boot::{BootOptions, MachineDescription, boot};
use journeys::catalogue::journeys;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Disk, Medium};
use support::refusal::{Attempt, Tables, refuse};
use support::{Rig, read_and_check, start, test_file};

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
    let mut bridges = hosted.host_bridges().expect("the bridge is sound");
    let description = MachineDescription {
        rsdp: hosted.rsdp().expect("the board has ACPI"),
        host_bridge: bridges.remove(0),
    };
    let options = BootOptions {
        units: UnitSettings {
            stage: Some(stage),
            ..UnitSettings::default()
        },
        ..BootOptions::default()
    };
    // SAFETY: the description is the board's own, which exists for this rig alone.
    let computer = unsafe { boot(hosted, &description, &hosted, options) };
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
            let refused = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
            let reason = refused.fault.reason;
            assert_eq!((reason.code, reason.text), (code, text), "{board}");
            rig.finish_after_faults();
        }
    }
}

/// Where the device's context lies, and its words. Devices are named as requesters are.
fn context(tables: &Tables<'_>) -> (u64, DeviceContext) {
    let capabilities = Capabilities::from_bits(tables.register(regs::CAPABILITIES));
    let format = match capabilities.msi_flat() {
        true => ContextFormat::Extended,
        false => ContextFormat::Base,
    };
    let directory = Ddtp::from_bits(tables.register(regs::DDTP));
    let levels = directory.iommu_mode().levels().expect("the unit is on");
    let device = u32::from(tables.requester);
    let mut table = directory.root();
    for level in (1..levels).rev() {
        let phys = table + format.index(device, level) as u64 * ENTRY_BYTES;
        let entry = DirectoryEntry::from_bits(tables.word(phys));
        assert!(entry.v(), "the device is attached");
        table = entry.table();
    }
    let phys = table + format.index(device, 0) as u64 * format.context_bytes();
    let [tc, iohgatp, ta, fsc] = tables.words(phys);
    let context = DeviceContext::from_words([tc, iohgatp, ta, fsc, 0, 0, 0, 0]);
    assert!(context.tc.v(), "the device is attached");
    (phys, context)
}

/// Where the leaf of what is mapped for the device lies.
fn leaf(tables: &Tables<'_>) -> u64 {
    let (_, context) = context(tables);
    let (mut table, levels) = match context.fsc.mode().levels() {
        Some(levels) => (context.fsc.root(), levels),
        None => {
            let levels = context.iohgatp.mode().levels();
            (
                context.iohgatp.root(),
                levels.expect("one stage translates"),
            )
        }
    };
    for level in (1..=levels).rev() {
        let index = tables.bus >> (12 + 9 * (level - 1));
        // The root of the second stage has more entries.
        let index = if level == levels {
            index
        } else {
            index & 0x1ff
        };
        let phys = table + 8 * index;
        let entry = Entry::from_bits(tables.word(phys));
        assert!(entry.v(), "level {level} of what is mapped");
        if entry.is_leaf() {
            return phys;
        }
        table = entry.addr();
    }
    panic!("no leaf where something is mapped");
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
fn a_context_that_asks_for_what_there_is_not_is_misconfigured() {
    let misconfigured = [(259, "DDT entry misconfigured"); 2];
    let reserved = |tables: &mut Tables<'_>, _| {
        let (phys, _) = context(tables);
        tables.alter(phys, |word| word | TranslationControl::RESERVED);
    };
    check(Attempt::Read, reserved, misconfigured);
    let no_mode = |tables: &mut Tables<'_>, stage| {
        let (phys, context) = context(tables);
        match stage {
            Stage::First => tables.alter(phys + 24, |_| {
                let none: FirstStage = context.fsc.with_mode(FirstStageMode::Reserved);
                none.into_bits()
            }),
            Stage::Second => tables.alter(phys + 8, |_| {
                let none: SecondStage = context.iohgatp.with_mode(SecondStageMode::Reserved);
                none.into_bits()
            }),
        }
    };
    check(Attempt::Read, no_mode, misconfigured);
}

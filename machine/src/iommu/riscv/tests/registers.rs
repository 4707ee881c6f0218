use board::hardware::Width;
use hw::riscv::directory::ContextFormat;
use hw::riscv::regs::InterruptGeneration;

use super::super::{Extension, RiscvConfig, RiscvConfigError};
use super::bench::*;
use crate::findings::FindingKind;
use crate::iommu::Unit;

#[test]
fn capabilities_say_what_was_configured() {
    let bench = Bench::new(RiscvConfig::default());
    // Version 1.0; Sv39 to Sv57 of both stages; MSI_FLAT; IGS both; PAS 46.
    assert_eq!(bench.read64(0), 0x2e_204e_0e10);
    assert_eq!([bench.read32(0), bench.read32(4)], [0x204e_0e10, 0x2e]);
    let config = RiscvConfig {
        first_stage_levels: 3,
        second_stage_levels: 0,
        context_format: ContextFormat::Base,
        interrupts: InterruptGeneration::Wsi,
        physical_address_bits: 56,
        non_leaf_invalidation: Extension::Present,
        range_invalidation: Extension::Present,
        ..RiscvConfig::default()
    };
    let bench = Bench::new(config);
    assert_eq!(bench.read64(0), 0xc38_1000_0210);
    assert_eq!(bench.read32(FCTL), 2, "wires are fixed");
    // There are no messages then.
    bench.write64(MSI, 0xfee0_0000);
    assert_eq!(bench.read64(MSI), 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn impossible_units_are_refused() {
    let default = RiscvConfig::default;
    for (config, error) in [
        (
            RiscvConfig {
                first_stage_levels: 2,
                ..default()
            },
            RiscvConfigError::TableLevels(2),
        ),
        (
            RiscvConfig {
                second_stage_levels: 6,
                ..default()
            },
            RiscvConfigError::TableLevels(6),
        ),
        (
            RiscvConfig {
                first_stage_levels: 0,
                second_stage_levels: 0,
                ..default()
            },
            RiscvConfigError::NoStage,
        ),
        (
            RiscvConfig {
                directory_levels: vec![],
                ..default()
            },
            RiscvConfigError::DirectoryLevels,
        ),
        (
            RiscvConfig {
                directory_levels: vec![1, 4],
                ..default()
            },
            RiscvConfigError::DirectoryLevels,
        ),
        (
            RiscvConfig {
                physical_address_bits: 57,
                ..default()
            },
            RiscvConfigError::PhysicalAddressBits(57),
        ),
        (
            RiscvConfig {
                vectors_log2: 5,
                ..default()
            },
            RiscvConfigError::Vectors(5),
        ),
        (
            RiscvConfig {
                interrupts: InterruptGeneration::Reserved,
                ..default()
            },
            RiscvConfigError::Interrupts,
        ),
    ] {
        assert_eq!(config.capabilities().map(|_| ()), Err(error));
    }
}

#[test]
fn mode_shows_late_and_only_if_the_unit_has_it() {
    let config = RiscvConfig {
        directory_levels: vec![2],
        ..RiscvConfig::default()
    };
    let bench = Bench::new(config);
    bench.write64(DDTP, entry(ROOT, 3));
    assert_eq!(bench.read64(DDTP), 0x10, "busy, and still off");
    bench.wait_until(|| bench.read64(DDTP) & 0x10 == 0);
    assert_eq!(bench.read64(DDTP), entry(ROOT, 3));
    bench.set_off();
    for mode in [2, 4] {
        assert_eq!(bench.set_mode(entry(ROOT, mode)), entry(ROOT, 0));
    }
    bench.assert_no_findings();
}

#[test]
fn ways_between_modes_that_the_manual_forbids_are_findings() {
    let check = |before: &[u64], value: u64, findings: usize| {
        let bench = Bench::new(RiscvConfig::default());
        for value in before {
            bench.set_mode(*value);
        }
        bench.assert_no_findings();
        bench.set_mode(value);
        assert_eq!(
            bench.found(FindingKind::IllegalRegisterUse),
            findings,
            "{before:x?} {value:#x}"
        );
    };
    check(&[1], entry(ROOT, 4), 0);
    check(&[entry(ROOT, 4)], entry(ROOT, 0), 0);
    check(&[entry(ROOT, 4)], entry(ROOT, 3), 1);
    check(&[entry(ROOT, 4)], entry(ROOT, 1), 1);
    check(&[entry(ROOT, 4)], 0, 1);
    check(&[], entry(ROOT, 5), 1);
    check(&[], entry(1 << 46, 4), 1);
}

#[test]
fn register_written_while_busy_is_a_finding() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(DDTP, 1);
    bench.write64(DDTP, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    bench.write64(CQB, entry(QUEUE, 7));
    bench.write32(CQT, 0);
    bench.write32(CQCSR, 1);
    bench.write32(CQCSR, 3);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 2);
    bench.write64(FQB, entry(FAULTS, 2));
    bench.write32(FQH, 0);
    bench.write32(FQCSR, 1);
    bench.write32(FQCSR, 3);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 3);
}

#[test]
fn directory_set_over_what_caches_hold_is_a_finding() {
    let again = |commands: &[[u64; 2]]| {
        let (bench, top) = Bench::translating(RiscvConfig::default(), 3);
        bench.map(top, 3, 0x1000, 1, entry(0x5000, RW));
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        bench.set_off();
        bench.submit_and_wait(commands);
        bench.set_mode(entry(ROOT, 4));
        bench.found(FindingKind::IllegalRegisterUse)
    };
    assert_eq!(again(&[]), 1);
    assert_eq!(again(&[DIRECTORY]), 1);
    assert_eq!(again(&[FIRST_STAGES]), 1);
    assert_eq!(again(&[DIRECTORY, FIRST_STAGES, SECOND_STAGES]), 0);
}

#[test]
fn accesses_of_other_widths_are_findings() {
    let bench = Bench::new(RiscvConfig::default());
    assert_eq!(bench.unit.read_register(0x00, Width::Byte), 0xff);
    assert_eq!(bench.unit.read_register(0x00, Width::Word), 0xffff);
    assert_eq!(bench.unit.read_register(0x04, Width::Qword), u64::MAX);
    assert_eq!(bench.unit.read_register(0x02, Width::Dword), 0xffff_ffff);
    for pair in [CQH, CQCSR, MSI + 8] {
        bench.read64(pair);
    }
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 7);
}

#[test]
fn registers_of_64_bits_take_halves() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write32(CQB + 4, 0x2a);
    bench.write32(CQB, 0x1234_5407);
    assert_eq!(bench.read64(CQB), 0x2a_1234_5407);
    bench.write32(MSI + 4, 0x12);
    bench.write32(MSI, 0xfee0_0001);
    assert_eq!(bench.read64(MSI), 0x12_fee0_0000);
    // The upper half of ddtp first, then the one that acts.
    bench.write32(DDTP + 4, 0x1);
    bench.write32(DDTP, 0x404);
    bench.wait_until(|| bench.read64(DDTP) & 0x10 == 0);
    assert_eq!(bench.read64(DDTP), 0x1_0000_0404);
    bench.assert_no_findings();
}

#[test]
fn read_only_and_reserved_registers_are_not_written() {
    for offset in [
        0x00, 0x0c, CQH, FQT, 0x38, 0x50, 0x58, 0x60, 0x258, 0x270, 0x400,
    ] {
        let bench = Bench::new(RiscvConfig::default());
        let before = bench.read32(offset);
        bench.write32(offset, 0xffff_ffff);
        assert_eq!(bench.read32(offset), before);
        assert_eq!(
            bench.found(FindingKind::IllegalRegisterUse),
            1,
            "offset {offset:#x}"
        );
    }
}

#[test]
fn reserved_bits_of_registers_are_findings() {
    for (offset, value) in [(CQCSR, 0x4), (FQCSR, 0x400), (IPSR, 0x10)] {
        let bench = Bench::new(RiscvConfig::default());
        bench.write32(offset, value);
        assert_eq!(
            bench.found(FindingKind::ReservedBits),
            1,
            "offset {offset:#x}"
        );
    }
    for (offset, value) in [(DDTP, 0x20), (CQB, 0x20), (FQB, 1 << 54)] {
        let bench = Bench::new(RiscvConfig::default());
        bench.write64(offset, value);
        assert_eq!(
            bench.found(FindingKind::ReservedBits),
            1,
            "offset {offset:#x}"
        );
    }
}

#[test]
fn queues_are_moved_while_they_are_off_and_started_at_zero() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(CQB, entry(QUEUE, 7));
    bench.write64(FQB, entry(FAULTS, 2));
    assert_ne!(bench.read32(CQT), 0, "anything");
    assert_ne!(bench.read32(FQH), 0, "anything");
    bench.unit.hold_queue();
    bench.write32(CQCSR, 1);
    bench.write32(FQCSR, 1);
    bench.wait_until(|| bench.read32(CQCSR) & bench.read32(FQCSR) & ON != 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 2);
    bench.write64(CQB, entry(0x9000, 7));
    bench.write64(FQB, entry(0x9000, 7));
    assert_eq!(bench.read64(CQB), entry(QUEUE, 7));
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 4);
    // Nor is it turned off while commands stand in it.
    bench.write32(CQCSR, 0);
    bench.wait_until(|| bench.read32(CQCSR) & (ON | BUSY) == 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 5);
}

#[test]
fn features_are_chosen_while_the_unit_is_off() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write32(FCTL, 7);
    assert_eq!(bench.read32(FCTL), 2, "one byte order, one register width");
    bench.assert_no_findings();
    bench.enable_queue();
    bench.write32(FCTL, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    let config = RiscvConfig {
        interrupts: InterruptGeneration::Msi,
        ..RiscvConfig::default()
    };
    let bench = Bench::new(config);
    bench.write32(FCTL, 2);
    assert_eq!(bench.read32(FCTL), 0);
}

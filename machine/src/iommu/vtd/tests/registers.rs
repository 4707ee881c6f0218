use board::hardware::Width;

use super::super::{CachingMode, Support, VtdConfig, VtdConfigError, WriteBuffer};
use super::bench::*;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::Temper;

#[test]
fn capabilities_say_what_was_configured() {
    let bench = Bench::new(VtdConfig::default());
    assert_eq!(bench.read32(0x00), 0x10);
    // ND 6; SAGAW 3 and 4 levels; MGAW 48; ZLR; FRO 0x220; 2M, 1G; PSI; NFR 8; MAMV 18; DWD, DRD.
    assert_eq!(bench.read64(0x08), 0x00d2_078c_226f_0606);
    // C, QI, IRO 0x100.
    assert_eq!(bench.read64(0x10), 0x1003);
    assert_eq!(
        [bench.read32(0x08), bench.read32(0x0c)],
        [0x226f_0606, 0x00d2_078c]
    );

    let config = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        write_buffer: WriteBuffer::NeedsFlush,
        snoop_control: Support::Yes,
        pass_through: Support::Yes,
        ..VtdConfig::default()
    };
    let bench = Bench::with(config, Temper::Keep, Snooping::Off);
    assert_eq!(bench.read64(0x08) & 0x90, 0x90);
    assert_eq!(bench.read64(0x10) & 0xff, 0xc2);
}

#[test]
fn impossible_units_are_refused() {
    let check = |config: VtdConfig, error| {
        assert_eq!(config.capabilities(Snooping::On).map(|_| ()), Err(error));
    };
    let default = VtdConfig::default;
    check(
        VtdConfig {
            fault_records: 0,
            ..default()
        },
        VtdConfigError::FaultRecords(0),
    );
    check(
        VtdConfig {
            fault_records: 223,
            ..default()
        },
        VtdConfigError::FaultRecords(223),
    );
    check(
        VtdConfig {
            domain_id_bits: 7,
            ..default()
        },
        VtdConfigError::DomainIdBits(7),
    );
    check(
        VtdConfig {
            guest_address_bits: 38,
            ..default()
        },
        VtdConfigError::GuestAddressBits(38),
    );
    check(
        VtdConfig {
            host_address_bits: 53,
            ..default()
        },
        VtdConfigError::HostAddressBits(53),
    );
    check(
        VtdConfig {
            max_address_mask: Some(64),
            ..default()
        },
        VtdConfigError::AddressMask(64),
    );
}

#[test]
fn status_shows_a_command_late() {
    let bench = Bench::new(VtdConfig::default());
    bench.write64(RTADDR, ROOT);
    bench.write32(GCMD, SRTP);
    assert_eq!(bench.read32(GSTS) & SRTP, 0);
    bench.wait_until(|| bench.read32(GSTS) & SRTP != 0);
    // The pointer is taken anew by each command.
    bench.write32(GCMD, SRTP);
    assert_eq!(bench.read32(GSTS) & SRTP, 0);
    bench.wait_until(|| bench.read32(GSTS) & SRTP != 0);
    bench.assert_no_findings();
}

#[test]
fn command_before_the_end_of_the_last_is_a_finding() {
    let bench = Bench::new(VtdConfig::default());
    bench.write64(RTADDR, ROOT);
    bench.write32(GCMD, SRTP);
    let _status = bench.read32(GSTS);
    bench.write32(GCMD, QIE);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn two_commands_at_once_do_nothing() {
    let bench = Bench::new(VtdConfig::default());
    bench.write32(GCMD, SRTP | QIE);
    for _ in 0..10 {
        assert_eq!(bench.read32(GSTS), 0);
    }
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn functions_the_unit_lacks_are_findings() {
    for bit in [23, 24, 25, 28, 29] {
        let bench = Bench::new(VtdConfig::default());
        bench.write32(GCMD, 1 << bit);
        assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1, "bit {bit}");
        assert_eq!(bench.read32(GSTS), 0);
    }
    let bench = Bench::new(VtdConfig::default());
    bench.write32(GCMD, 1);
    assert_eq!(bench.found(FindingKind::ReservedBits), 1);
}

#[test]
fn root_table_pointer_is_taken_by_command_only() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    bench.write64(RTADDR, bench.frame());
    bench.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.command(SRTP, SRTP);
    // What was remembered before stays until it is invalidated.
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(1));
    bench.assert_no_findings();
}

#[test]
fn enabling_needs_context_cache_and_then_iotlb_invalidated() {
    let check = |descriptors: &[[u64; 2]], findings: usize| {
        let bench = Bench::new(VtdConfig::default());
        bench.set_root();
        bench.enable_queue();
        bench.submit_and_wait(descriptors);
        bench.command(TE, TE);
        assert_eq!(
            bench.found(FindingKind::IllegalRegisterUse),
            findings,
            "{descriptors:x?}"
        );
    };
    check(&[CONTEXT_GLOBAL, IOTLB_GLOBAL], 0);
    check(&[IOTLB_GLOBAL, CONTEXT_GLOBAL], 1);
    check(&[IOTLB_GLOBAL], 1);
    check(&[CONTEXT_GLOBAL, iotlb_domain(DOMAIN)], 1);
    check(&[], 1);
}

#[test]
fn malformed_root_table_address_is_a_finding() {
    for bits in [0x1, 0x400, 1 << 46] {
        let bench = Bench::new(VtdConfig::default());
        bench.write64(RTADDR, ROOT | bits);
        bench.command(SRTP, SRTP);
        assert_eq!(bench.found(FindingKind::ReservedBits), 1);
    }
}

#[test]
fn accesses_of_other_widths_are_findings() {
    let bench = Bench::new(VtdConfig::default());
    assert_eq!(bench.unit.read_register(0x08, Width::Byte), 0xff);
    assert_eq!(bench.unit.read_register(0x08, Width::Word), 0xffff);
    assert_eq!(bench.unit.read_register(0x0c, Width::Qword), u64::MAX);
    assert_eq!(bench.unit.read_register(0x0a, Width::Dword), 0xffff_ffff);
    bench.read64(GCMD);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 5);
}

#[test]
fn registers_of_64_bits_take_halves() {
    let bench = Bench::new(VtdConfig::default());
    bench.write32(RTADDR, 0x1234_5000);
    bench.write32(RTADDR + 4, 0x2a);
    assert_eq!(bench.read64(RTADDR), 0x2a_1234_5000);
    bench.write32(CCMD, 0);
    bench.write32(CCMD + 4, 1 << 31 | 1 << 29);
    bench.wait_until(|| bench.read32(CCMD + 4) >> 31 == 0);
    bench.assert_no_findings();
}

#[test]
fn read_only_and_reserved_registers_are_not_written() {
    for offset in [0x08, 0x10, 0x58, IQH, IQERCD, 0xb8, 0x68, 0x800] {
        let bench = Bench::new(VtdConfig::default());
        let before = bench.read64(offset & !7);
        bench.unit.write_register(offset, Width::Dword, 0xffff_ffff);
        assert_eq!(bench.read64(offset & !7), before);
        assert!(
            bench.found(FindingKind::IllegalRegisterUse) > 0,
            "offset {offset:#x}"
        );
    }
}

#[test]
fn queue_registers_are_set_while_it_is_off() {
    let bench = Bench::new(VtdConfig::default());
    bench.enable_queue();
    bench.write64(IQA, 0x9000);
    assert_eq!(bench.read64(IQA), QUEUE);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    // Neither invalidates by register while it is on.
    bench.write64(CCMD, 1 << 63 | 1 << 61);
    bench.write64(IOTLB, 1 << 63 | 1 << 60);
    assert_eq!(
        (bench.read64(CCMD) >> 63, bench.read64(IOTLB) >> 63),
        (0, 0)
    );
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 3);
    // Off again, the head is back at 0.
    bench.submit_and_wait(&[IOTLB_GLOBAL]);
    assert_ne!(bench.read64(IQH), 0);
    bench.write32(GCMD, 0);
    bench.wait_until(|| bench.read32(GSTS) & QIE == 0);
    assert_eq!(bench.read64(IQH), 0);
    // The tail is not, and must be written before it is on again.
    bench.command(QIE, QIE);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 4);
}

#[test]
fn queue_that_is_not_empty_must_not_be_disabled() {
    let bench = Bench::new(VtdConfig::default());
    bench.enable_queue();
    bench.unit.hold_queue();
    bench.submit(&[IOTLB_GLOBAL]);
    bench.write32(GCMD, 0);
    bench.wait_until(|| bench.read32(GSTS) & QIE == 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

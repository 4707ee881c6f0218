use board::hardware::Width;

use super::super::{CoherenceTold, SmmuConfig, SmmuConfigError, SmmuUnit, Stages, Support};
use super::bench::*;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::Temper;

#[test]
fn identification_says_what_the_unit_was_built_with() {
    let bench = Bench::new(SmmuConfig::default());
    // S2P, S1P, AArch64, COHACC, ASID16, MSI, VMID16, little-endian, terminate, TERM_MODEL, two levels.
    assert_eq!(bench.read32(0x00), 0x0d44_301b);
    assert_eq!(bench.read32(0x04), 19 << 21 | 19 << 16 | 16);
    assert_eq!(bench.read32(0x0c), 1 << 10);
    assert_eq!(bench.read32(0x14), 0x74);
    let bench = Bench::with(
        SmmuConfig {
            stages: Stages::Second,
            asid_bits: 8,
            vmid_bits: 8,
            messages: Support::No,
            range_invalidation: Support::No,
            output_bits: 40,
            ..SmmuConfig::default()
        },
        Temper::Keep,
        Snooping::Off,
    );
    assert_eq!(bench.read32(0x00), 0x0d40_0009);
    assert_eq!(bench.read32(0x0c), 0);
    assert_eq!(bench.read32(0x14), 0x72);
    let bench = Bench::new(SmmuConfig {
        coherence_told: CoherenceTold::ByFirmware,
        ..SmmuConfig::default()
    });
    assert_eq!(bench.read32(0x00) & 0x10, 0);
    bench.assert_no_findings();
}

#[test]
fn units_that_cannot_be_are_refused() {
    let refused = |config: SmmuConfig| {
        let outcome = std::panic::catch_unwind(|| Bench::new(config));
        assert!(outcome.is_err());
    };
    refused(SmmuConfig {
        output_bits: 43,
        ..SmmuConfig::default()
    });
    refused(SmmuConfig {
        granules: Vec::new(),
        ..SmmuConfig::default()
    });
    assert_eq!(
        SmmuConfigError::TagBits(9).to_string(),
        "an ASID or VMID has 8 or 16 bits, not 9"
    );
    let _: fn(&SmmuUnit) -> usize = SmmuUnit::requests_in_flight;
}

#[test]
fn wide_registers_are_written_whole_or_by_halves() {
    let bench = Bench::new(SmmuConfig::default());
    bench.write64(STRTAB_BASE, 1 << 62 | 0xab_c000);
    assert_eq!(
        bench.unit.read_register(STRTAB_BASE, Width::Qword),
        1 << 62 | 0xab_c000
    );
    bench.write32(STRTAB_BASE + 4, 0x3);
    assert_eq!(
        bench.unit.read_register(STRTAB_BASE, Width::Qword),
        0x3_00ab_c000
    );
    assert_eq!(bench.read32(STRTAB_BASE), 0xab_c000);
    bench.assert_no_findings();
}

#[test]
fn accesses_the_manual_does_not_allow_are_findings() {
    let bench = Bench::new(SmmuConfig::default());
    for (offset, width) in [
        (CR0, Width::Qword),
        (CR0, Width::Byte),
        (CR0 + 2, Width::Dword),
        (STRTAB_BASE + 4, Width::Qword),
    ] {
        assert_eq!(bench.unit.read_register(offset, width), width.ones());
        bench.unit.write_register(offset, width, 0);
    }
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 8);
    // Read only, absent.
    bench.write32(0x00, 0);
    bench.write32(CR0ACK, 0);
    bench.write64(0xc0, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 11);
}

#[test]
fn acknowledgements_are_to_be_waited_for() {
    let bench = Bench::new(SmmuConfig::default());
    bench.write64(CMDQ_BASE, COMMANDS | 4);
    bench.write32(CR0, CMDQEN);
    assert_eq!(bench.read32(CR0ACK), 0, "never at once");
    bench.write32(CR0, CMDQEN | EVENTQEN);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    bench.wait_until(|| bench.read32(CR0ACK) == CMDQEN | EVENTQEN);
    bench.write32(GBPA, 1 << 20);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 2, "no UPDATE");
    bench.write32(GBPA, 1 << 31 | 1 << 20);
    assert_eq!(bench.read32(GBPA), 1 << 31 | 1 << 12, "under way");
    bench.wait_until(|| bench.read32(GBPA) >> 31 == 0);
    assert_eq!(bench.read32(GBPA), 1 << 20);
}

#[test]
fn registers_of_what_is_on_are_not_to_be_written() {
    let (bench, _) = Bench::translating(first());
    let writes: [&dyn Fn(); 7] = [
        &|| bench.write64(STRTAB_BASE, STREAMS),
        &|| bench.write32(STRTAB_BASE_CFG, 8),
        &|| bench.write64(CMDQ_BASE, COMMANDS | 4),
        &|| bench.write64(EVENTQ_BASE, EVENTS | 2),
        &|| bench.write32(CMDQ_CONS, bench.read32(CMDQ_CONS)),
        &|| bench.write32(CR1, 0),
        &|| bench.write32(CR2, 2),
    ];
    for (count, write) in (1..).zip(writes) {
        write();
        assert_eq!(bench.found(FindingKind::IllegalRegisterUse), count);
    }
}

#[test]
fn queues_are_as_large_as_the_unit_allows() {
    let bench = Bench::new(SmmuConfig {
        command_queue_log2: 5,
        ..SmmuConfig::default()
    });
    bench.write64(CMDQ_BASE, COMMANDS | 8);
    assert_eq!(bench.read32(CMDQ_BASE) & 0x1f, 5);
    bench.write64(EVENTQ_BASE, (EVENTS + 0x20) | 2);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 2, "unaligned");
}

#[test]
fn unit_is_not_to_be_turned_on_with_stale_caches_or_a_bad_table() {
    let bench = Bench::new(first());
    bench.connect();
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    for (base, config) in [
        (STREAMS, 17),                   // more bits than stream ids have
        (STREAMS + 0x40, 8),             // not aligned to its size
        (STREAMS, 2 << 16 | 8),          // no such format
        (STREAMS, 1 << 16 | 7 << 6 | 8), // no such split
    ] {
        let bench = Bench::new(first());
        bench.connect();
        bench.write64(STRTAB_BASE, base);
        bench.write32(STRTAB_BASE_CFG, config);
        bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
        bench.control(CMDQEN | EVENTQEN | SMMUEN);
        assert_eq!(
            bench.found(FindingKind::IllegalRegisterUse),
            1,
            "{config:#x}"
        );
        assert_eq!(bench.read(0x1000), Err(0x02));
    }
}

#[test]
fn errors_that_are_not_active_are_not_to_be_acknowledged() {
    let bench = Bench::new(first());
    bench.write32(GERRORN, 1);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn turning_off_waits_for_requests_in_flight() {
    use crate::bus::Access;
    use crate::iommu::translator::Translator;

    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    let in_flight = bench
        .unit
        .translate(DEVICE, 0x1000, Access::Read)
        .expect("mapped");
    bench.write32(CR0, CMDQEN | EVENTQEN);
    for _ in 0..20 {
        assert_eq!(bench.read32(CR0ACK) & SMMUEN, SMMUEN);
    }
    drop(in_flight);
    bench.wait_until(|| bench.read32(CR0ACK) & SMMUEN == 0);
    assert_eq!(bench.read(0x1000), Ok(0x1000));
}

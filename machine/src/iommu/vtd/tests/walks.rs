use hw::vtd::regs::{AddressWidths, LargePages};

use super::super::{Support, VtdConfig};
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

fn all_levels() -> VtdConfig {
    let address_widths = AddressWidths::new()
        .with_bits_39(true)
        .with_bits_48(true)
        .with_bits_57(true);
    VtdConfig {
        address_widths,
        guest_address_bits: 57,
        ..VtdConfig::default()
    }
}

#[test]
fn tables_of_every_depth_translate() {
    for (levels, bus) in [
        (3, 0x7f_dead_b000),
        (4, 0xdead_beef_b000),
        (5, 0x1de_adbe_efca_f000_u64),
    ] {
        let (bench, top) = Bench::translating(all_levels(), levels);
        bench.map(top, levels, bus, 1, 0x5000 | RW);
        assert_eq!(bench.read(bus + 0x123), Ok(0x5123), "{levels} levels");
        assert_eq!(bench.write(bus + 0xfff), Ok(0x5fff), "{levels} levels");
        bench.assert_no_findings();
    }
}

#[test]
fn large_pages_translate_whole() {
    for (level, size) in [(2, 1 << 21), (3, 1 << 30)] {
        for levels in [3, 4, 5] {
            let (bench, top) = Bench::translating(all_levels(), levels);
            bench.map(top, levels, 0x40_0000_0000, level, 0x8000_0000 | PS | RW);
            for offset in [0, 0x1234, size - 1] {
                assert_eq!(
                    bench.read(0x40_0000_0000 + offset),
                    Ok(0x8000_0000 + offset)
                );
            }
            assert_eq!(bench.read(0x40_0000_0000 + size), Err(6));
        }
    }
}

#[test]
fn permissions_of_all_levels_count() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    bench.map(top, 4, 0x2000, 1, 0x6000 | R);
    bench.map(top, 4, 0x3000, 1, 0x7000 | W);
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Ok(0x6000), Err(5))
    );
    assert_eq!(
        (bench.read(0x3000), bench.write(0x3000)),
        (Err(6), Ok(0x7000))
    );
    // The top entry grants reads only.
    let word = bench.ram.load_u64(top).expect("in RAM");
    bench.store(top, word & !W);
    bench.submit_and_wait(&[IOTLB_GLOBAL]);
    assert_eq!(
        (bench.read(0x1000), bench.write(0x1000)),
        (Ok(0x5000), Err(5))
    );
}

#[test]
fn requests_pass_as_they_are_without_translation() {
    let bench = Bench::new(VtdConfig::default());
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    let (bench, _) = Bench::translating(VtdConfig::default(), 4);
    assert_eq!(bench.read(0xdead_b000), Err(6));
    bench.write32(GCMD, QIE);
    bench.wait_until(|| bench.read32(GSTS) & TE == 0);
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    bench.assert_no_findings();
}

#[test]
fn pass_through_context_lets_requests_pass() {
    let config = VtdConfig {
        pass_through: Support::Yes,
        ..VtdConfig::default()
    };
    let (bench, _) = Bench::translating(config, 4);
    bench.store(CONTEXTS + 0x180, 0x9);
    bench.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.write(0xdead_b000), Ok(0xdead_b000));
}

#[test]
fn ignored_bits_are_ignored() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let entry = bench.map(top, 4, 0x1000, 1, 0x5000 | RW | 0xbff0_0000_0000_077c);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // Page size means nothing in the lowest table.
    bench.store(entry, 0x5000 | RW | PS);
    bench.submit_and_wait(&[IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn large_page_the_unit_lacks_is_reserved() {
    let config = VtdConfig {
        large_pages: LargePages::new().with_size_2m(true),
        ..VtdConfig::default()
    };
    let (bench, top) = Bench::translating(config, 4);
    bench.map(top, 4, 0x4000_0000, 3, 0x4000_0000 | PS | RW);
    assert_eq!(bench.read(0x4000_0000), Err(0xc));
    assert_eq!(bench.found(FindingKind::ReservedBits), 1);
}

#[test]
fn snoop_bit_needs_snoop_control() {
    let config = VtdConfig {
        snoop_control: Support::Yes,
        ..VtdConfig::default()
    };
    let (bench, top) = Bench::translating(config, 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW | 1 << 11);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn addresses_beyond_the_width_fault() {
    let (bench, _) = Bench::translating(VtdConfig::default(), 3);
    assert_eq!(bench.read(1 << 39), Err(4));
    assert_eq!(bench.read((1 << 39) - 1), Err(6));
    let config = VtdConfig {
        guest_address_bits: 40,
        ..VtdConfig::default()
    };
    let (bench, _) = Bench::translating(config, 4);
    assert_eq!(bench.read(1 << 40), Err(4));
    assert_eq!(bench.read((1 << 40) - 1), Err(6));
}

#[test]
fn domain_id_beyond_the_unit_is_reserved() {
    let config = VtdConfig {
        domain_id_bits: 8,
        ..VtdConfig::default()
    };
    let bench = Bench::new(config);
    bench.attach(DEVICE, 0x100, bench.frame(), 4);
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(0xb));
}

#[test]
fn root_table_outside_memory_faults() {
    let bench = Bench::new(VtdConfig::default());
    bench.write64(RTADDR, 0x80_0000);
    bench.command(SRTP, SRTP);
    bench.enable_queue();
    bench.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
    bench.command(TE, TE);
    assert_eq!(bench.read(0x1000), Err(8));
}

#[test]
fn translation_without_root_table_faults() {
    let bench = Bench::new(VtdConfig::default());
    bench.command(TE, TE);
    assert_eq!(bench.read(0x1000), Err(8));
    assert!(bench.found(FindingKind::IllegalRegisterUse) > 0);
}

#[test]
fn walk_that_does_not_snoop_misses_what_was_not_written_back() {
    let bench = Bench::with(VtdConfig::default(), Temper::Forget, Snooping::Off);
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    bench.view.clean(0, 0x100000);
    bench.enable();
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // The view writes lines back on its own now and then, so one store alone proves nothing.
    let missed = (0x2000..0x3f000).step_by(0x1000).filter(|bus| {
        bench.map(top, 4, *bus, 1, 0x6000 | RW);
        bench.read(*bus) != Ok(0x6000)
    });
    assert!(missed.count() > 0);
    bench.view.clean(0, 0x100000);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
}

#[test]
fn requester_without_context_is_told_apart() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(2));
    assert_eq!(bench.reach(DEVICE | 0x100, 0x1000, Access::Read), Err(1));
    bench.assert_no_findings();
}

//! Scalable mode: what the tables say is what devices reach.

use super::super::{ScalableMode, Support, VtdConfig};
use super::bench::*;
use crate::audit::Audit;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::Temper;
use hw::vtd::regs::AddressWidths;

/// First-stage entries: present and the user's, writable too; accessed and dirty.
pub(super) const PU: u64 = 5;
pub(super) const PWU: u64 = 7;
pub(super) const AD: u64 = 0x60;

/// Word 0 of PASID-table entries, and word 1 or 2 beside the address.
pub(super) const FIRST: u64 = 1 << 6 | 1;
pub(super) const SECOND: u64 = 2 << 6 | 1;
pub(super) const SNOOPED: u64 = 1 << 23;

const SCALABLE_ROOT: u64 = ROOT | 1 << 10;

/// A unit in scalable mode, and where the entries of [`DEVICE`] are.
pub(super) struct Scalable {
    pub(super) bench: Bench,
    pub(super) context: u64,
    pub(super) directory: u64,
    pub(super) pasids: u64,
}

pub(super) fn config() -> VtdConfig {
    VtdConfig {
        scalable: Some(ScalableMode::default()),
        ..VtdConfig::default()
    }
}

impl Scalable {
    pub(super) fn new(config: VtdConfig, temper: Temper) -> Self {
        let bench = Bench::with(config, temper, Snooping::On);
        let directory = bench.frame();
        let pasids = bench.frame();
        let this = Self {
            bench,
            context: CONTEXTS + u64::from(DEVICE) * 32,
            directory,
            pasids,
        };
        this.bench.store(ROOT, CONTEXTS | 1);
        this.bench.store(this.context, directory | 1);
        this.bench.store(directory, pasids | 1);
        this
    }

    /// The entry of PASID 0: a second-stage table of 4 levels; its top.
    pub(super) fn second_stage(&self) -> u64 {
        let top = self.bench.frame();
        self.set_pasid([top | 2 << 2 | SECOND, u64::from(DOMAIN), 0]);
        top
    }

    /// The entry of PASID 0: a first-stage table of 4 levels; its top.
    pub(super) fn first_stage(&self) -> u64 {
        let top = self.bench.frame();
        self.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, top]);
        top
    }

    pub(super) fn set_pasid(&self, words: [u64; 3]) {
        for (index, word) in words.into_iter().enumerate().rev() {
            self.bench.store(self.pasids + 8 * index as u64, word);
        }
    }

    /// As [`Bench::map`], with first-stage entries.
    pub(super) fn map_first(&self, top: u64, levels: u64, bus: u64, level: u64, leaf: u64) -> u64 {
        let mut table = top;
        for level in (level + 1..=levels).rev() {
            let entry = table + (bus >> (12 + 9 * (level - 1)) & 511) * 8;
            let mut word = self.bench.ram.load_u64(entry).expect("in RAM");
            if word == 0 {
                word = self.bench.frame() | PWU | AD;
                self.bench.store(entry, word);
            }
            table = word & 0x000f_ffff_ffff_f000;
        }
        let entry = table + (bus >> (12 + 9 * (level - 1)) & 511) * 8;
        self.bench.store(entry, leaf);
        entry
    }

    pub(super) fn enable_queue(&self) {
        self.bench.write64(IQT, 0);
        self.bench.write64(IQA, QUEUE | WIDE);
        self.bench.command(QIE, QIE);
    }

    pub(super) fn set_root(&self) {
        self.bench.write64(RTADDR, SCALABLE_ROOT);
        self.bench.command(SRTP, SRTP);
    }

    pub(super) fn enable(&self) {
        self.set_root();
        self.enable_queue();
        self.bench
            .submit_and_wait(&[CONTEXT_GLOBAL, PASID_GLOBAL, IOTLB_GLOBAL]);
        self.bench.command(TE, TE);
    }
}

pub(super) const PASID_GLOBAL: [u64; 2] = [0x37, 0];

pub(super) fn pasid_domain(did: u16) -> [u64; 2] {
    [0x07 | u64::from(did) << 16, 0]
}

pub(super) fn pasid_one(did: u16, pasid: u64) -> [u64; 2] {
    [0x17 | u64::from(did) << 16 | pasid << 32, 0]
}

pub(super) fn pasid_iotlb(did: u16, pasid: u64) -> [u64; 2] {
    [0x26 | u64::from(did) << 16 | pasid << 32, 0]
}

pub(super) fn pasid_iotlb_pages(did: u16, pasid: u64, bus: u64, mask: u64, hint: u64) -> [u64; 2] {
    [
        0x36 | u64::from(did) << 16 | pasid << 32,
        bus | hint << 6 | mask,
    ]
}

#[test]
fn second_stage_tables_of_every_depth_translate() {
    let all = VtdConfig {
        address_widths: AddressWidths::from_bits(0xe),
        guest_address_bits: 57,
        ..config()
    };
    for (levels, bus) in [
        (3, 0x7f_dead_b000),
        (4, 0xdead_beef_b000),
        (5, 0x1de_adbe_efca_f000_u64),
    ] {
        let scalable = Scalable::new(all.clone(), Temper::Keep);
        let bench = &scalable.bench;
        let top = bench.frame();
        scalable.set_pasid([top | (levels - 2) << 2 | SECOND, u64::from(DOMAIN), 0]);
        bench.map(top, levels, bus, 1, 0x5000 | RW);
        bench.map(top, levels, 0x20_0000, 2, 0x40_0000 | PS | R);
        scalable.enable();
        assert_eq!(bench.read(bus + 0x123), Ok(0x5123), "{levels} levels");
        assert_eq!(bench.write(bus + 0xfff), Ok(0x5fff), "{levels} levels");
        assert_eq!(bench.read(0x3f_ffff), Ok(0x5f_ffff), "{levels} levels");
        assert_eq!(bench.write(0x20_0000), Err(0x85), "{levels} levels");
        assert_eq!(bench.read(0x40_0000), Err(0x79), "{levels} levels");
        bench.assert_no_findings();
    }
}

#[test]
fn first_stage_tables_translate_no_more_than_the_units_width() {
    let scalable = Scalable::new(
        VtdConfig {
            guest_address_bits: 39,
            ..config()
        },
        Temper::Keep,
    );
    let bench = &scalable.bench;
    let top = bench.frame();
    scalable.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, top]);
    for bus in [0x7f_ffff_f000, 0x80_0000_0000] {
        scalable.map_first(top, 4, bus, 1, 0x5000 | PWU | AD);
    }
    scalable.enable();
    assert_eq!(bench.read(0x7f_ffff_f000), Ok(0x5000));
    assert_eq!(bench.read(0x80_0000_0000), Err(0x80));
}

#[test]
fn first_stage_tables_translate_both_halves_of_canonical_addresses() {
    let five = ScalableMode {
        five_levels: Support::Yes,
        ..ScalableMode::default()
    };
    for (levels, mode, high) in [
        (4, 0, 0xffff_8000_0000_1000_u64),
        (5, 1 << 2, 0xff00_0000_0000_1000),
    ] {
        let scalable = Scalable::new(
            VtdConfig {
                scalable: Some(five),
                ..config()
            },
            Temper::Keep,
        );
        let bench = &scalable.bench;
        let top = bench.frame();
        scalable.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, top | mode]);
        scalable.map_first(top, levels, 0x7fff_dead_b000, 1, 0x5000 | PWU | AD);
        scalable.map_first(top, levels, high, 1, 0x6000 | PU | AD);
        scalable.map_first(top, levels, 0x20_0000, 2, 0x40_0000 | PS | PWU | AD);
        scalable.map_first(top, levels, 0x4000_0000, 3, 0x8000_0000 | PS | PWU | AD);
        scalable.enable();
        for _ in 0..2 {
            assert_eq!(bench.write(0x7fff_dead_b008), Ok(0x5008));
            assert_eq!(bench.read(high), Ok(0x6000));
            assert_eq!(bench.write(high), Err(0x85), "read only");
            assert_eq!(bench.read(0x3f_ffff), Ok(0x5f_ffff));
            assert_eq!(bench.read(0x4123_4567), Ok(0x8123_4567));
            assert_eq!(bench.read(0x7fff_0000_0000), Err(0x71));
            assert_eq!(bench.read(1 << (11 + 9 * levels)), Err(0x80), "no halfway");
        }
        bench.assert_no_findings();
    }
}

#[test]
fn devices_of_the_upper_half_of_a_bus_have_a_context_table_of_their_own() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    let upper = bench.frame();
    bench.store(ROOT + 8, upper | 1);
    let top = scalable.second_stage();
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    bench.store(upper + 0x18 * 32, scalable.directory | 1);
    scalable.enable();
    assert_eq!(bench.reach(0x98, 0x1000, Access::Read), Ok(0x5000));
    assert_eq!(bench.reach(0x99, 0x1000, Access::Read), Err(0x41));
    bench.assert_no_findings();
}

#[test]
fn requests_without_pasid_are_translated_as_the_context_entry_says() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    let top = bench.frame();
    let other = bench.frame();
    bench.store(scalable.directory + 8 * 0x7f, other | 1);
    bench.store(scalable.context + 8, 0x1fff);
    let entry = other + 63 * 64;
    bench.store(entry + 8, DOMAIN.into());
    bench.store(entry, top | 2 << 2 | SECOND);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    scalable.enable();
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
    // 128 directory entries have room for 13 bits.
    bench.store(scalable.context + 8, 0x2000);
    bench.submit_and_wait(&[CONTEXT_GLOBAL, PASID_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(0x48));
    bench.store(scalable.context, scalable.directory | 1 << 9 | 1);
    bench.submit_and_wait(&[CONTEXT_GLOBAL, PASID_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(0x51), "the larger directory has it");
}

#[test]
fn pass_through_reaches_everything_where_the_unit_has_it() {
    let with = VtdConfig {
        pass_through: Support::Yes,
        ..config()
    };
    for (config, width, expected) in [
        (with.clone(), 2, Ok(0x1000)),
        (with.clone(), 1, Err(0x5b)),
        (with.clone(), 3, Err(0x5b)),
        (with, 0, Err(0x5b)),
        (config(), 2, Err(0x5b)),
    ] {
        let scalable = Scalable::new(config, Temper::Keep);
        // Its width is the unit's greatest.
        scalable.set_pasid([4 << 6 | width << 2 | 1, DOMAIN.into(), 0]);
        scalable.enable();
        assert_eq!(scalable.bench.read(0x1000), expected);
    }
}

#[test]
fn the_walk_sets_flags_that_software_left_clear() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        let scalable = Scalable::new(config(), temper);
        let bench = &scalable.bench;
        let top = scalable.first_stage();
        let leaf = scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU);
        let read_only = scalable.map_first(top, 4, 0x2000, 1, 0x6000 | PU);
        bench.store(top, bench.ram.load_u64(top).expect("in RAM") & !AD);
        scalable.enable();
        let flags = |entry| bench.ram.load_u64(entry).expect("in RAM") & AD;
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        assert_eq!((flags(top), flags(leaf)), (0x20, 0x20), "accessed");
        assert_eq!(bench.write(0x1000), Ok(0x5000));
        assert_eq!(flags(leaf), AD, "dirty");
        assert_eq!(bench.write(0x2000), Err(0x85));
        assert_eq!(flags(read_only), 0x20, "what was refused is not dirty");
        bench.assert_no_findings();
    }
}

#[test]
fn a_walk_that_does_not_snoop_sets_no_flag() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    let top = bench.frame();
    scalable.set_pasid([FIRST, DOMAIN.into(), top]);
    scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU | AD);
    let clean = scalable.map_first(top, 4, 0x2000, 1, 0x6000 | PWU | 0x20);
    scalable.enable();
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    assert_eq!(bench.read(0x2000), Ok(0x6000));
    assert_eq!(bench.write(0x2000), Err(0x90));
    assert_eq!(bench.ram.load_u64(clean), Ok(0x6000 | PWU | 0x20));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn legacy_tables_still_translate_on_a_unit_with_scalable_mode() {
    let (bench, top) = Bench::translating(config(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(bench.read(0x2000), Err(6));
    bench.assert_no_findings();
}

#[test]
fn the_audit_lists_what_pasid_tables_lead_to() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    let top = scalable.first_stage();
    scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU | AD);
    scalable.map_first(top, 4, 0x20_0000, 2, 0x40_0000 | PS | PU | AD);
    scalable.enable();
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    let leaves: Vec<_> = audit
        .leaves
        .iter()
        .map(|leaf| {
            (
                leaf.requester,
                leaf.bus,
                leaf.phys,
                leaf.len_bytes,
                leaf.access,
            )
        })
        .collect();
    assert_eq!(
        leaves,
        [
            (DEVICE, 0x1000, 0x5000, 0x1000, Access::Write),
            (DEVICE, 0x20_0000, 0x40_0000, 0x20_0000, Access::Read)
        ]
    );
    for frame in [ROOT, CONTEXTS, scalable.directory, scalable.pasids, top] {
        assert!(audit.table_frames.contains(&frame), "{frame:#x}");
    }
}

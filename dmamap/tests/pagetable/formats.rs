//! Each format's words, whole, and its shapes, as its manual has them.

use dmamap::addr::PhysAddr;
use dmamap::pagetable::{
    AmdV1, ArmLpaeStage1, ArmLpaeStage2, Entry, Format, FormatError, Granule, LeafSizes,
    Permission, Riscv, Runs, SnoopControl, Span, VtdSecondStage, WalkCoherence, X86FirstStage,
};

const LARGE: LeafSizes = LeafSizes::FOUR_KIB
    .union(LeafSizes::TWO_MIB)
    .union(LeafSizes::ONE_GIB);

/// Leaves of level 1 for reading, writing and both, a large one of each level for both, and a link.
fn words<F: Format>(format: F) -> Vec<u64> {
    let phys = PhysAddr::new(0x3_4000_0000);
    let leaf = |level, permission| format.leaf(level, phys, permission, Span::Entry);
    let mut words = vec![
        leaf(1, Permission::Read),
        leaf(1, Permission::Write),
        leaf(1, Permission::ReadWrite),
    ];
    for level in 2..=format.geometry().levels() {
        if format
            .leaf_sizes()
            .contains(format.geometry().size_log2(level))
        {
            words.push(leaf(level, Permission::ReadWrite));
        }
    }
    words.push(format.table(2, phys));
    words
}

/// The words of a run's second and last page.
fn run_words<F: Format>(format: F, level: u32) -> [u64; 2] {
    let size_log2 = format.geometry().size_log2(level);
    let last = (1 << format.run_log2(level)) - 1;
    [1, last].map(|n| {
        let phys = PhysAddr::new(0x4_0000_0000 + (n << size_log2));
        format.leaf(level, phys, Permission::ReadWrite, Span::Run)
    })
}

#[test]
fn vtd_second_stage_words_are_the_manuals() {
    let format = VtdSecondStage::new(4, 46).unwrap().with_leaf_sizes(LARGE);
    assert_eq!(
        words(format),
        [
            0x3_4000_0001,
            0x3_4000_0002,
            0x3_4000_0003,
            0x3_4000_0083,
            0x3_4000_0083,
            0x3_4000_0003,
        ]
    );
    let forced = words(format.with_snoop_control(SnoopControl::Force));
    assert_eq!(
        forced[2..],
        [0x3_4000_0803, 0x3_4000_0883, 0x3_4000_0883, 0x3_4000_0003]
    );
}

#[test]
fn x86_first_stage_words_are_the_manuals() {
    let format = X86FirstStage::new(4, 46).unwrap().with_leaf_sizes(LARGE);
    assert_eq!(
        words(format),
        [
            0x3_4000_0065,
            0x3_4000_0067,
            0x3_4000_0067,
            0x3_4000_00e7,
            0x3_4000_00e7,
            0x3_4000_0027,
        ]
    );
}

#[test]
fn amd_words_are_the_manuals() {
    let format = AmdV1::new(4, 48).unwrap().with_leaf_sizes(LARGE);
    assert_eq!(
        words(format),
        [
            0x2000_0003_4000_0001,
            0x4000_0003_4000_0001,
            0x6000_0003_4000_0001,
            0x6000_0003_4000_0001,
            0x6000_0003_4000_0001,
            0x6000_0003_4000_0201,
        ]
    );
    let links = [2, 3, 4, 5, 6].map(|level| format.table(level, PhysAddr::new(0)));
    assert_eq!(
        links.map(|link| link & 0xe00),
        [0x200, 0x400, 0x600, 0x800, 0xa00]
    );
    let forced = words(format.with_snoop_control(SnoopControl::Force));
    assert_eq!(forced[2], 0x7000_0003_4000_0001);
    assert_eq!(forced[5], 0x6000_0003_4000_0201);
    let hinted = format.with_runs(Runs::Hinted);
    assert_eq!(run_words(hinted, 1), [0x6000_0004_0000_7e01; 2]);
    assert_eq!(run_words(hinted, 2), [0x6000_0004_00ff_fe01; 2]);
    assert_eq!(run_words(hinted, 3), [0x6000_0005_ffff_fe01; 2]);
}

#[test]
fn arm_stage_1_words_are_the_manuals() {
    let format = ArmLpaeStage1::new(Granule::FourKib, 39, 44).unwrap();
    assert_eq!(
        words(format),
        [
            0x3_4000_0fc3,
            0x3_4000_0f43,
            0x3_4000_0f43,
            0x3_4000_0f41,
            0x3_4000_0f41,
            0x3_4000_0003,
        ]
    );
    // Attribute 1 of MAIR, outer shareable.
    let not_snooped = words(format.with_coherence(WalkCoherence::NotSnooped));
    assert_eq!(not_snooped[..2], [0x3_4000_0ec7, 0x3_4000_0e47]);
    assert_eq!(ArmLpaeStage1::MAIR, 0x0004_44ff);
    // Attribute 2: registers, Device-nGnRE.
    let leaf = format.leaf(
        1,
        PhysAddr::new(0x8000_1000),
        Permission::ReadWrite,
        Span::Entry,
    );
    let registers = format.for_registers(leaf);
    assert_eq!(registers & 0x31c, 0x208);
    assert_eq!(registers & !0x31c, leaf & !0x31c);
    assert_eq!(format.decode(1, registers), format.decode(1, leaf));
    // AP[1] is clear: privileged requests only, of memory and of registers.
    for word in [leaf, leaf | 0x80, registers] {
        let privileged = format.for_privileged(word);
        assert_eq!(privileged, word & !0x40);
        assert_eq!(format.decode(1, privileged), format.decode(1, word));
    }
    let hinted = format.with_runs(Runs::Hinted);
    assert_eq!(
        run_words(hinted, 1),
        [0x0010_0004_0000_1f43, 0x0010_0004_0000_ff43]
    );
    assert_eq!(
        run_words(hinted, 2),
        [0x0010_0004_0020_0f41, 0x0010_0004_01e0_0f41]
    );
}

#[test]
fn arm_stage_2_words_are_the_manuals() {
    let format = ArmLpaeStage2::new(Granule::SixteenKib, 40, 44).unwrap();
    assert_eq!(
        words(format),
        [
            0x3_4000_077f,
            0x3_4000_07bf,
            0x3_4000_07ff,
            0x3_4000_07fd,
            0x3_4000_0003,
        ]
    );
    let not_snooped = words(format.with_coherence(WalkCoherence::NotSnooped));
    assert_eq!(not_snooped[2..4], [0x3_4000_06d7, 0x3_4000_06d5]);
    let hinted = format.with_runs(Runs::Hinted);
    assert_eq!(
        run_words(hinted, 1),
        [0x0010_0004_0000_47ff, 0x0010_0004_001f_c7ff]
    );
}

#[test]
fn riscv_words_are_the_manuals() {
    let expected = [
        0xd000_00d3,
        0xd000_00d7,
        0xd000_00d7,
        0xd000_00d7,
        0xd000_00d7,
        0xd000_0001,
    ];
    let second = Riscv::second_stage(3, 56).unwrap();
    assert_eq!(words(Riscv::first_stage(3, 56).unwrap()), expected);
    assert_eq!(words(second), expected);
    let hinted = second.with_runs(Runs::Hinted);
    assert_eq!(run_words(hinted, 1), [0x8000_0001_0000_20d7; 2]);
}

/// Levels, entries of the root, bytes of the root, and last address.
fn shape<F: Format>(format: Result<F, FormatError>) -> (u32, usize, u64, u64) {
    let geometry = format.unwrap().geometry();
    let root = geometry.levels();
    let last = geometry.aperture_last();
    (
        root,
        geometry.entries(root),
        geometry.table_bytes(root),
        last,
    )
}

#[test]
fn shapes_are_the_manuals() {
    let vtd = |levels| shape(VtdSecondStage::new(levels, 46));
    assert_eq!(vtd(3), (3, 512, 0x1000, 0x7f_ffff_ffff));
    assert_eq!(vtd(5), (5, 512, 0x1000, 0x01ff_ffff_ffff_ffff));
    // Half the root's entries are for addresses from the top of 64 bits down.
    let x86 = |levels| shape(X86FirstStage::new(levels, 46));
    assert_eq!(x86(4), (4, 256, 0x1000, 0x7fff_ffff_ffff));
    assert_eq!(x86(5), (5, 256, 0x1000, 0x00ff_ffff_ffff_ffff));
    let amd = |levels| shape(AmdV1::new(levels, 48));
    assert_eq!(amd(1), (1, 512, 0x1000, 0x1f_ffff));
    assert_eq!(amd(4), (4, 512, 0x1000, 0xffff_ffff_ffff));
    assert_eq!(amd(6), (6, 128, 0x1000, u64::MAX));
    let first = |levels| shape(Riscv::first_stage(levels, 56));
    assert_eq!(first(3), (3, 256, 0x1000, 0x3f_ffff_ffff));
    assert_eq!(first(4), (4, 256, 0x1000, 0x7fff_ffff_ffff));
    assert_eq!(first(5), (5, 256, 0x1000, 0x00ff_ffff_ffff_ffff));
    let second = |levels| shape(Riscv::second_stage(levels, 56));
    assert_eq!(second(3), (3, 2048, 0x4000, 0x01ff_ffff_ffff));
    assert_eq!(second(4), (4, 2048, 0x4000, 0x0003_ffff_ffff_ffff));
    assert_eq!(second(5), (5, 2048, 0x4000, 0x07ff_ffff_ffff_ffff));
}

#[test]
fn arm_roots_save_a_level_where_tables_may_lie_in_a_row() {
    use Granule::{FourKib, SixteenKib, SixtyFourKib};
    // Granule, input bits; levels and entries of the root in stage 1 and in stage 2.
    for (granule, bits, first, second) in [
        (FourKib, 25, (2, 16), (2, 16)),
        (FourKib, 31, (3, 2), (2, 1024)),
        (FourKib, 39, (3, 512), (3, 512)),
        (FourKib, 40, (4, 2), (3, 1024)),
        (FourKib, 42, (4, 8), (3, 4096)),
        (FourKib, 43, (4, 16), (3, 8192)),
        (FourKib, 44, (4, 32), (4, 32)),
        (FourKib, 48, (4, 512), (4, 512)),
        (SixteenKib, 25, (1, 2048), (1, 2048)),
        (SixteenKib, 40, (3, 16), (2, 32768)),
        (SixteenKib, 47, (3, 2048), (3, 2048)),
        (SixteenKib, 48, (4, 2), (3, 4096)),
        (SixtyFourKib, 29, (1, 8192), (1, 8192)),
        (SixtyFourKib, 42, (2, 8192), (2, 8192)),
        (SixtyFourKib, 46, (3, 16), (2, 131_072)),
        (SixtyFourKib, 48, (3, 64), (3, 64)),
    ] {
        let root = |shape: (u32, usize, u64, u64)| (shape.0, shape.1);
        let stage1 = shape(ArmLpaeStage1::new(granule, bits, 48));
        let stage2 = shape(ArmLpaeStage2::new(granule, bits, 48));
        assert_eq!(root(stage1), first, "{granule:?}, {bits} bits");
        assert_eq!(root(stage2), second, "{granule:?}, {bits} bits");
        assert_eq!(stage1.3, (1 << bits) - 1);
        assert_eq!(stage2.3, (1 << bits) - 1);
    }
}

#[test]
fn runs_are_as_long_as_the_manuals_say() {
    let arm = |granule| {
        let format = ArmLpaeStage2::new(granule, 40, 44).unwrap();
        assert_eq!(format.run_log2(1), 0);
        let format = format.with_runs(Runs::Hinted);
        [1, 2].map(|level| 1 << format.run_log2(level))
    };
    assert_eq!(arm(Granule::FourKib), [16, 16]);
    assert_eq!(arm(Granule::SixteenKib), [128, 32]);
    assert_eq!(arm(Granule::SixtyFourKib), [32, 32]);
    let riscv = Riscv::second_stage(3, 56).unwrap().with_runs(Runs::Hinted);
    assert_eq!([1, 2, 3].map(|level| riscv.run_log2(level)), [4, 0, 0]);
}

#[test]
fn shapes_that_do_not_exist_are_refused() {
    let levels = |error: Option<FormatError>| match error {
        Some(FormatError::Levels { levels, .. }) => Some(levels),
        _ => None,
    };
    for wrong in [0, 2, 6] {
        assert_eq!(levels(VtdSecondStage::new(wrong, 46).err()), Some(wrong));
        assert_eq!(levels(Riscv::first_stage(wrong, 46).err()), Some(wrong));
        assert_eq!(levels(Riscv::second_stage(wrong, 46).err()), Some(wrong));
    }
    for wrong in [0, 3, 6] {
        assert_eq!(levels(X86FirstStage::new(wrong, 46).err()), Some(wrong));
    }
    for wrong in [0, 7] {
        assert_eq!(levels(AmdV1::new(wrong, 46).err()), Some(wrong));
    }
    let bits = |error: Option<FormatError>| match error {
        Some(FormatError::PhysBits { bits, .. }) => Some(bits),
        _ => None,
    };
    for wrong in [31, 57] {
        assert_eq!(bits(VtdSecondStage::new(4, wrong).err()), Some(wrong));
        assert_eq!(bits(X86FirstStage::new(4, wrong).err()), Some(wrong));
        assert_eq!(bits(AmdV1::new(4, wrong).err()), Some(wrong));
        assert_eq!(bits(Riscv::first_stage(4, wrong).err()), Some(wrong));
        let stage1 = ArmLpaeStage1::new(Granule::FourKib, 39, wrong);
        assert_eq!(bits(stage1.err()), Some(wrong));
    }
    for bits in [24, 49] {
        let error = FormatError::InputBits {
            format: "Arm stage 2",
            bits,
            first: 25,
            last: 48,
        };
        let stage2 = ArmLpaeStage2::new(Granule::SixteenKib, bits, 44);
        assert_eq!(stage2.err(), Some(error));
        assert_eq!(
            error.to_string(),
            format!("Arm stage 2 tables translate addresses of 25 to 48 bits, not {bits}")
        );
    }
}

#[test]
fn entries_that_the_format_never_writes_are_reserved() {
    let reserved = |format: &dyn Fn(u32, u64) -> Entry, level, word| {
        let decoded = format(level, word);
        assert_eq!(decoded, Entry::Reserved, "{word:#x} of level {level}");
    };
    let amd = AmdV1::new(4, 48).unwrap();
    for (level, word) in [
        // A table that takes reading or writing away, one two levels down, and one of the same level.
        (3, 0x4000_0000_0000_1401),
        (3, 0x2000_0000_0000_1401),
        (3, 0x6000_0000_0000_1201),
        (3, 0x6000_0000_0000_1601),
        // A page that grants nothing; one of 2 MiB, and one of a run, where there are none of these.
        (1, 0x0000_0000_0000_1001),
        (2, 0x6000_0000_0000_0001),
        (1, 0x6000_0000_0000_7e01),
    ] {
        reserved(&|level, word| amd.decode(level, word), level, word);
    }
    // A run of 32 KiB.
    let hinted = amd.with_runs(Runs::Hinted);
    reserved(
        &|level, word| hinted.decode(level, word),
        1,
        0x6000_0000_0000_3e01,
    );
    let stage1 = ArmLpaeStage1::new(Granule::FourKib, 48, 44).unwrap();
    for (level, word) in [
        // A block among pages, and one of 512 GiB; access flag clear, for all and for privileged accesses; one of a run.
        (1, 0x0f41),
        (4, 0x0f41),
        (1, 0x0b43),
        (1, 0x0b03),
        (1, 0x0010_0000_0000_0f43),
        // A table that takes writing away.
        (2, 0x4000_0000_0000_1003),
    ] {
        reserved(&|level, word| stage1.decode(level, word), level, word);
    }
    let stage2 = ArmLpaeStage2::new(Granule::SixtyFourKib, 48, 44).unwrap();
    for (level, word) in [
        (1, 0x07fd),
        (3, 0x07fd),
        (1, 0x073f),
        (1, 0x0010_0000_0000_07ff),
    ] {
        reserved(&|level, word| stage2.decode(level, word), level, word);
    }
    let riscv = Riscv::first_stage(4, 56).unwrap();
    for (level, word) in [
        // Writing without reading, with and without execution, execution alone; a table among pages; a page of
        // 512 GiB; one of a run.
        (1, 0xd5),
        (1, 0xdd),
        (1, 0xd9),
        (1, 0x0401),
        (4, 0xd7),
        (1, 0x8000_0000_0000_20d7),
    ] {
        reserved(&|level, word| riscv.decode(level, word), level, word);
    }
    // A run of 32 KiB, and one above level 1.
    let hinted = riscv.with_runs(Runs::Hinted);
    reserved(
        &|level, word| hinted.decode(level, word),
        1,
        0x8000_0000_0000_10d7,
    );
    reserved(
        &|level, word| hinted.decode(level, word),
        2,
        0x8000_0000_0000_20d7,
    );
}

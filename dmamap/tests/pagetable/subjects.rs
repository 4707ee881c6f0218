//! Every format in every shape, and which bits its manual wants to be zero.

use dmamap::pagetable::{
    AmdV1, ArmLpaeStage1, ArmLpaeStage2, Format, Geometry, Granule, LeafSizes, Riscv, Runs,
    SnoopControl, VtdSecondStage, WalkCoherence, X86FirstStage,
};

use crate::subject::{Kind, Subject, WriteOnly};
use crate::toy::Toy;

const SIZES: [LeafSizes; 3] = [
    LeafSizes::FOUR_KIB,
    LeafSizes::FOUR_KIB.union(LeafSizes::TWO_MIB),
    LeafSizes::FOUR_KIB
        .union(LeafSizes::TWO_MIB)
        .union(LeafSizes::ONE_GIB),
];

/// VT-d: 3, 4 and 5 levels, with and without large leaves, snooping and not.
pub(crate) fn vtd_second_stage() -> Vec<VtdSecondStage> {
    let mut formats = Vec::new();
    for levels in 3..=5 {
        for (leaf_sizes, coherence, snoop) in [
            (SIZES[2], WalkCoherence::Snooped, SnoopControl::Force),
            (
                SIZES[1],
                WalkCoherence::NotSnooped,
                SnoopControl::AsRequested,
            ),
            (SIZES[0], WalkCoherence::Snooped, SnoopControl::AsRequested),
        ] {
            formats.push(
                VtdSecondStage::new(levels, 46)
                    .unwrap()
                    .with_leaf_sizes(leaf_sizes)
                    .with_coherence(coherence)
                    .with_snoop_control(snoop),
            );
        }
    }
    formats
}

impl Subject for VtdSecondStage {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        // Address bits from 46 on, and TM.
        let always = 0x400f_c000_0000_0000;
        always
            | match (kind, level) {
                (Kind::Table, 4..) => 0x880,
                (Kind::Table, _) => 0x800,
                (_, 1) => 0,
                (_, 2) => 0x001f_f000,
                _ => 0x3fff_f000,
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::Expressible
    }
}

/// A format that no vendor has: other bits, from one level to six, 1 GiB leaves without 2 MiB ones, all granules,
/// roots of a few entries and of sixteen tables.
pub(crate) fn toy_format() -> Vec<Toy> {
    let large = SIZES[2];
    let odd = LeafSizes::FOUR_KIB | LeafSizes::ONE_GIB;
    let arm = LeafSizes::THIRTY_TWO_MIB | LeafSizes::HALF_GIB;
    use Granule::{FourKib, SixteenKib, SixtyFourKib};
    use Runs::{Hinted, Plain};
    use WalkCoherence::{NotSnooped, Snooped};
    let toy = |granule, levels, input_bits, leaf_sizes, runs, coherence| {
        Toy::new(
            Geometry::new(granule, levels, input_bits),
            leaf_sizes,
            runs,
            coherence,
        )
    };
    vec![
        toy(FourKib, 1, 21, large, Plain, Snooped),
        toy(FourKib, 2, 30, large, Plain, NotSnooped),
        toy(FourKib, 3, 39, odd, Hinted, NotSnooped),
        toy(FourKib, 6, 64, large, Hinted, Snooped),
        toy(FourKib, 6, 64, odd, Plain, NotSnooped),
        toy(FourKib, 3, 31, large, Hinted, Snooped),
        toy(FourKib, 3, 43, large, Hinted, NotSnooped),
        toy(SixteenKib, 3, 40, arm, Hinted, NotSnooped),
        toy(SixtyFourKib, 2, 46, arm, Plain, Snooped),
    ]
}

/// VT-d's first stage: 4 and 5 levels.
pub(crate) fn x86_first_stage() -> Vec<X86FirstStage> {
    [
        (4, SIZES[2], WalkCoherence::Snooped),
        (4, SIZES[1], WalkCoherence::NotSnooped),
        (5, SIZES[2], WalkCoherence::NotSnooped),
        (5, SIZES[0], WalkCoherence::Snooped),
    ]
    .into_iter()
    .map(|(levels, leaf_sizes, coherence)| {
        X86FirstStage::new(levels, 46)
            .unwrap()
            .with_leaf_sizes(leaf_sizes)
            .with_coherence(coherence)
    })
    .collect()
}

impl Subject for X86FirstStage {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        // Address bits from 46 on, and XD, which is not enabled.
        let always = 0x800f_c000_0000_0000;
        always
            | match (kind, level) {
                (Kind::Table, 4..) => 0x80,
                (Kind::Table, _) => 0,
                (_, 1) => 0,
                (_, 2) => 0x001f_e000,
                _ => 0x3fff_e000,
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::ReadsToo
    }
}

/// AMD-Vi: 1 to 6 levels.
pub(crate) fn amd_v1() -> Vec<AmdV1> {
    (1..=6)
        .map(|levels| {
            let odd = levels % 2 != 0;
            AmdV1::new(levels, 48)
                .unwrap()
                .with_leaf_sizes(if levels == 5 { SIZES[1] } else { SIZES[2] })
                .with_runs(if levels == 4 {
                    Runs::Plain
                } else {
                    Runs::Hinted
                })
                .with_snoop_control(if odd {
                    SnoopControl::Force
                } else {
                    SnoopControl::AsRequested
                })
                .with_coherence(if odd {
                    WalkCoherence::Snooped
                } else {
                    WalkCoherence::NotSnooped
                })
        })
        .collect()
}

impl Subject for AmdV1 {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        // 58:52, and address bits from 48 on.
        let always = 0x07ff_0000_0000_0000;
        always
            | match (kind, level) {
                // U and FC.
                (Kind::Table, _) => 0x1800_0000_0000_0000,
                (Kind::Leaf, 1) => 0,
                (Kind::Leaf, 2) => 0x001f_f000,
                (Kind::Leaf, _) => 0x3fff_f000,
                // The zero that ends the size: bits 15, 24, 33.
                (Kind::RunLeaf, _) => 1 << (15 + 9 * (level - 1)),
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::Expressible
    }
}

/// Granules, input widths, runs and coherence of Arm's tables; outputs have 44 bits, or 48.
const ARM: [(Granule, u32, u32, Runs, WalkCoherence); 8] = {
    use Granule::{FourKib, SixteenKib, SixtyFourKib};
    use Runs::{Hinted, Plain};
    use WalkCoherence::{NotSnooped, Snooped};
    [
        // Two levels; in stage 1 a root of 16 entries.
        (FourKib, 25, 44, Hinted, NotSnooped),
        (FourKib, 39, 44, Plain, Snooped),
        // Stage 2: a root of 16 tables.
        (FourKib, 43, 48, Hinted, NotSnooped),
        (FourKib, 48, 44, Hinted, Snooped),
        (SixteenKib, 36, 44, Hinted, NotSnooped),
        // Stage 1: four levels and a root of 2 entries; stage 2: two tables.
        (SixteenKib, 48, 48, Hinted, Snooped),
        // One level.
        (SixtyFourKib, 29, 44, Hinted, NotSnooped),
        (SixtyFourKib, 48, 48, Hinted, Snooped),
    ]
};

pub(crate) fn arm_lpae_stage1() -> Vec<ArmLpaeStage1> {
    ARM.into_iter()
        .map(|(granule, input_bits, output_bits, runs, coherence)| {
            ArmLpaeStage1::new(granule, input_bits, output_bits)
                .unwrap()
                .with_runs(runs)
                .with_coherence(coherence)
        })
        .collect()
}

pub(crate) fn arm_lpae_stage2() -> Vec<ArmLpaeStage2> {
    ARM.into_iter()
        .map(|(granule, input_bits, output_bits, runs, coherence)| {
            ArmLpaeStage2::new(granule, input_bits, output_bits)
                .unwrap()
                .with_runs(runs)
                .with_coherence(coherence)
        })
        .collect()
}

/// Address bits of an Arm descriptor that must be zero: those below the size, and those above the output's.
fn arm_address<F: Format>(format: &F, level: u32, kind: Kind) -> u64 {
    let too_wide = match format.last_phys().as_u64() {
        0x0fff_ffff_ffff => 0x0000_f000_0000_0000,
        0xffff_ffff_ffff => 0,
        other => panic!("no subject leads as far as {other:#x}"),
    };
    let level = if kind == Kind::Table { 1 } else { level };
    let below = match (format.geometry().granule(), level) {
        (Granule::FourKib, 1) => 0,
        (Granule::FourKib, 2) => 0x001f_f000,
        (Granule::FourKib, _) => 0x3fff_f000,
        (Granule::SixteenKib, 1) => 0x3000,
        (Granule::SixteenKib, _) => 0x01ff_f000,
        (Granule::SixtyFourKib, 1) => 0xf000,
        (Granule::SixtyFourKib, _) => 0x1fff_f000,
    };
    too_wide | below
}

impl Subject for ArmLpaeStage1 {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        arm_address(self, level, kind)
            | match kind {
                Kind::Table => 0x0007_0000_0000_0000,
                Kind::Leaf | Kind::RunLeaf => 0x0003_0000_0000_0000,
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::ReadsToo
    }
}

impl Subject for ArmLpaeStage2 {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        arm_address(self, level, kind)
            | match kind {
                // Also what limits the tables below in stage 1.
                Kind::Table => 0xf807_0000_0000_0000,
                Kind::Leaf | Kind::RunLeaf => 0x0007_0000_0000_0800,
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::Expressible
    }
}

/// RISC-V: both stages, 3, 4 and 5 levels.
pub(crate) fn riscv() -> Vec<Riscv> {
    let mut formats = Vec::new();
    for levels in 3..=5 {
        formats.push(
            Riscv::first_stage(levels, 56)
                .unwrap()
                .with_leaf_sizes(SIZES[levels as usize - 3])
                .with_coherence(WalkCoherence::NotSnooped),
        );
        formats.push(
            Riscv::second_stage(levels, 50)
                .unwrap()
                .with_runs(if levels == 4 {
                    Runs::Plain
                } else {
                    Runs::Hinted
                }),
        );
    }
    formats
}

impl Subject for Riscv {
    fn must_be_zero(&self, level: u32, kind: Kind) -> u64 {
        let too_wide = match self.last_phys().as_u64() {
            0x0003_ffff_ffff_ffff => 0x003f_0000_0000_0000,
            0x00ff_ffff_ffff_ffff => 0,
            other => panic!("no subject leads as far as {other:#x}"),
        };
        // 60:54, and the memory types of Svpbmt, which are not enabled.
        let always = 0x7fc0_0000_0000_0000 | too_wide;
        let n = 0x8000_0000_0000_0000;
        always
            | match (kind, level) {
                // U, A, D.
                (Kind::Table, _) => n | 0xd0,
                (Kind::Leaf, 1) => n,
                (Kind::Leaf, 2) => n | 0x0007_fc00,
                (Kind::Leaf, _) => n | 0x0fff_fc00,
                // PPN[3:0] is 0b1000.
                (Kind::RunLeaf, _) => 0x1c00,
            }
    }

    fn write_only(&self) -> WriteOnly {
        WriteOnly::ReadsToo
    }
}

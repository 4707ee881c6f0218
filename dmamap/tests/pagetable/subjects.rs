//! Every format in every shape, and which bits its manual wants to be zero.

use dmamap::pagetable::{
    Geometry, Granule, LeafSizes, Runs, SnoopControl, VtdSecondStage, WalkCoherence,
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

//! The page-table walker: one suite, run on every format in every shape.

#[path = "../support/mod.rs"]
mod support;

mod coherence;
mod failure;
mod frames;
mod oracle;
mod refusal;
mod subject;
mod toy;
mod translation;

use dmamap::pagetable::{LeafSizes, SnoopControl, VtdSecondStage, WalkCoherence};
use toy::Toy;

/// VT-d: 3, 4 and 5 levels, with and without large leaves, snooping and not.
fn vtd() -> Vec<VtdSecondStage> {
    let sizes = [
        LeafSizes::FOUR_KIB,
        LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB,
        LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB | LeafSizes::ONE_GIB,
    ];
    let mut formats = Vec::new();
    for levels in 3..=5 {
        for (leaf_sizes, coherence, snoop) in [
            (sizes[2], WalkCoherence::Snooped, SnoopControl::Force),
            (
                sizes[1],
                WalkCoherence::NotSnooped,
                SnoopControl::AsRequested,
            ),
            (sizes[0], WalkCoherence::Snooped, SnoopControl::AsRequested),
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

/// A format that no vendor has: other bits, from one level to six, and 1 GiB leaves without 2 MiB ones.
fn toy() -> Vec<Toy> {
    let large = LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB | LeafSizes::ONE_GIB;
    let odd = LeafSizes::FOUR_KIB | LeafSizes::ONE_GIB;
    vec![
        Toy::new(1, large, WalkCoherence::Snooped),
        Toy::new(2, large, WalkCoherence::NotSnooped),
        Toy::new(3, odd, WalkCoherence::NotSnooped),
        Toy::new(6, large, WalkCoherence::Snooped),
        Toy::new(6, odd, WalkCoherence::NotSnooped),
    ]
}

macro_rules! suite {
    ($($part:ident: $($behaviour:ident),+;)+) => {
        mod vtd_second_stage {
            $($(#[test] fn $behaviour() {
                super::vtd().into_iter().for_each(super::$part::$behaviour);
            })+)+
        }

        mod toy_format {
            $($(#[test] fn $behaviour() {
                super::toy().into_iter().for_each(super::$part::$behaviour);
            })+)+
        }
    };
}

suite! {
    translation:
        entries_decode_as_they_were_encoded,
        words_of_unlinked_tables_decode_as_empty,
        each_byte_of_a_mapping_is_translated,
        the_largest_leaf_is_used_at_every_alignment,
        scattered_memory_lies_side_by_side,
        neighbours_in_a_list_share_a_large_leaf,
        the_top_of_the_aperture_is_mapped;
    refusal:
        what_is_mapped_is_not_mapped_again,
        what_cannot_be_mapped_is_refused,
        an_unmap_with_a_hole_is_refused,
        an_unmap_inside_a_large_leaf_is_refused,
        corrupt_entries_are_reported;
    frames:
        frames_return_to_birth_after_reclaim,
        a_loop_of_map_and_unmap_neither_allocates_nor_unlinks,
        kept_tables_are_bounded,
        an_empty_table_in_the_way_is_mapped_with_smaller_leaves,
        unlinked_tables_are_empty_until_released,
        nothing_is_freed_that_a_unit_may_still_walk;
    failure:
        each_failing_allocation_leaves_the_table_as_it_was,
        a_map_that_fails_was_never_visible;
    coherence:
        a_unit_that_does_not_snoop_never_meets_a_stale_word,
        exactly_the_modified_lines_are_cleaned;
    oracle:
        random_use_agrees_with_a_page_by_page_oracle;
}

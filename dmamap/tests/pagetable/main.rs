//! The page-table walker: one suite, run on every format in every shape.

mod coherence;
mod failure;
mod formats;
mod frames;
mod held;
mod near;
mod oracle;
mod order;
mod refusal;
mod runs;
mod subject;
mod subjects;
mod toy;
mod translation;

/// Every behaviour of every part, as a test of each format.
macro_rules! suite {
    (@formats [$($format:ident),+] $tests:tt) => {
        $(suite! { @format $format $tests })+
    };
    (@format $format:ident { $($part:ident::$behaviour:ident)+ }) => {
        mod $format {
            $(#[test] fn $behaviour() {
                crate::subjects::$format().into_iter().for_each(crate::$part::$behaviour);
            })+
        }
    };
    ($($part:ident: $($behaviour:ident),+;)+) => {
        suite! { @formats [
            vtd_second_stage, x86_first_stage, amd_v1, arm_lpae_stage1, arm_lpae_stage2, riscv, toy_format
        ] { $($($part::$behaviour)+)+ } }
    };
}

suite! {
    translation:
        entries_decode_as_they_were_encoded,
        words_of_unlinked_tables_decode_as_empty,
        leaves_side_by_side_differ_alike,
        words_with_a_reserved_bit_set_are_reserved,
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
        corrupt_entries_are_reported,
        a_list_that_changes_is_not_written_past_its_end;
    runs:
        aligned_runs_carry_the_hint,
        part_of_a_run_is_not_unmapped,
        half_a_run_is_reported_as_corrupt;
    order:
        no_valid_entry_is_replaced_by_another;
    frames:
        frames_return_to_birth_after_reclaim,
        a_loop_of_map_and_unmap_neither_allocates_nor_unlinks,
        kept_tables_are_bounded,
        an_empty_table_in_the_way_is_mapped_with_smaller_leaves,
        unlinked_tables_are_empty_until_released,
        nothing_is_freed_that_a_unit_may_still_walk;
    held:
        held_entries_say_what_the_walker_would_have_written,
        tables_with_held_entries_stay,
        held_entries_are_written_back,
        entries_that_lead_to_tables_are_not_held;
    near:
        near_requests_say_what_walks_would,
        an_unlinked_table_is_near_no_more;
    failure:
        each_failing_allocation_leaves_the_table_as_it_was,
        a_map_that_fails_was_never_visible;
    coherence:
        a_unit_that_does_not_snoop_never_meets_a_stale_word,
        exactly_the_modified_lines_are_cleaned;
    oracle:
        random_use_agrees_with_a_page_by_page_oracle;
}

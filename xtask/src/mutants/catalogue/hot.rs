//! The blocks of bus addresses that are at hand: what the others know of them, and when.

use super::super::mutation::{Mutation, Selection, Test};

const HOT: &str = "dmamap/src/iova/hot.rs";

const fn blocks(name: &'static str) -> Test {
    Test::program("dmamap", "iova/blocks", name)
}

const fn edges(name: &'static str) -> Test {
    Test::program("dmamap", "iova/edges", name)
}

const fn quarantine(name: &'static str) -> Test {
    Test::program("dmamap", "life/quarantine", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "hot-block-beyond-the-limit",
        selection: Selection::Core,
        file: HOT,
        find: "fit.start > hot.start || fit.end < hot.end",
        replace: "fit.start > hot.start",
        why: "a device is given addresses that it cannot drive",
        caught_by: &[
            blocks("random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits"),
            edges("nobody_is_refused_what_a_block_has"),
        ],
    },
    Mutation {
        name: "hot-range-not-recorded",
        selection: Selection::Whole,
        file: HOT,
        find: "self.blocks.table_mut(table).set(unit, range);",
        replace: "let _ = range;",
        why: "another range is freed than was allocated",
        caught_by: &[blocks(
            "random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "inside-of-a-hot-range-is-a-range",
        selection: Selection::Whole,
        file: HOT,
        find: "is_first.then_some",
        replace: "true.then_some",
        why: "a range is freed by an address inside of it",
        caught_by: &[blocks(
            "random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "hot-though-something-is-reserved",
        selection: Selection::Whole,
        file: HOT,
        find: " || !it.is_plain()",
        replace: "",
        why: "what is nobody's is freed like a range of somebody's",
        caught_by: &[blocks(
            "random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "hot-though-something-is-promised",
        selection: Selection::Whole,
        file: "dmamap/src/iova/blocks.rs",
        find: "it.promised = true;",
        replace: "",
        why: "what was reserved beside a range is chosen when the range has gone",
        caught_by: &[blocks(
            "random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "reserved-beside-a-hot-block",
        selection: Selection::Whole,
        file: "dmamap/src/iova/reserve.rs",
        find: "self.divided.cool_down();",
        replace: "",
        why: "what is reserved is chosen all the same",
        caught_by: &[
            blocks("random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits"),
            edges("what_is_reserved_beside_a_range_stays_so_when_the_range_goes"),
        ],
    },
    Mutation {
        name: "searched-beside-a-hot-block",
        selection: Selection::Whole,
        file: "dmamap/src/iova/scarce.rs",
        find: "divided.cool_down();",
        replace: "",
        why: "two owners are given one address",
        caught_by: &[
            blocks("random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits"),
            edges("all_of_a_space_is_had_again_when_everything_was_freed"),
        ],
    },
    Mutation {
        name: "kept-in-a-hot-block",
        selection: Selection::Whole,
        file: "dmamap/src/iova/kept.rs",
        find: "self.divided.cool_down();",
        replace: "",
        why: "a range whose end was not confirmed cannot be kept from others",
        caught_by: &[quarantine("memory_comes_back_when_the_unit_answers_again")],
    },
    Mutation {
        name: "small-block-goes-back-into-a-hot-one",
        selection: Selection::Whole,
        file: "dmamap/src/iova/growth.rs",
        find: "self.cool_down_at(Level::Blocks);
        let place",
        replace: "let place",
        why: "addresses are lost for ever",
        caught_by: &[blocks(
            "random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "hot-block-passed-by-for-a-small-one",
        selection: Selection::Whole,
        file: "dmamap/src/iova/growth.rs",
        find: "self.cool_down_at(Level::Blocks);
        let parent",
        replace: "let parent",
        why: "each small block takes a large one of its own",
        caught_by: &[edges(
            "small_blocks_come_from_the_large_one_that_ranges_were_chosen_from",
        )],
    },
];

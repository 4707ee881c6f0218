//! Bus addresses where they are scarce: what the index of blocks and the tree know of holes, and who is told.

use super::super::mutation::{Mutation, Selection, Test};

const SCARCE: &str = "dmamap/src/iova/scarce.rs";

const fn adversary(name: &'static str) -> Test {
    Test::program("dmamap", "iova/adversary", name)
}

const fn blocks(name: &'static str) -> Test {
    Test::program("dmamap", "iova/blocks", name)
}

const fn edges(name: &'static str) -> Test {
    Test::program("dmamap", "iova/edges", name)
}

const NOBODY_REFUSED: Test = adversary("nobody_is_refused_a_place_whatever_is_asked_of_it");

const NO_CALL_DEAR: Test = adversary("no_call_is_dear_whatever_holes_there_are");

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "blocks-not-searched-where-memory-is-short-of-addresses",
        selection: Selection::Whole,
        file: SCARCE,
        find: "= self.blocks.lowest(level, fit)?;",
        replace: "= self.blocks.lowest(level, fit).filter(|_| false)?;",
        why: "addresses that are free are not found",
        caught_by: &[
            blocks("a_run_that_no_size_class_knows_is_found_where_there_is_no_other"),
            edges("a_device_of_33_bits_finds_what_others_left_from_4_gib_on"),
            NOBODY_REFUSED,
        ],
    },
    Mutation {
        name: "blocks-that-nothing-is-in-stay-blocks",
        selection: Selection::Whole,
        file: SCARCE,
        find: "if divided.give_back_unused(tree, (fit.start, fit.end)) == 0 {",
        replace: "if true {",
        why: "addresses that are free are not found",
        caught_by: &[
            edges("all_of_a_space_is_had_again_when_everything_was_freed"),
            edges("a_block_that_stays_is_no_narrow_devices_loss"),
        ],
    },
    Mutation {
        name: "block-that-reaches-into-the-limits-passed-by",
        selection: Selection::Whole,
        file: SCARCE,
        find: "match from_below < fit.start {",
        replace: "match from_below < fit.start && false {",
        why: "addresses that are free are not found",
        caught_by: &[NOBODY_REFUSED, edges("nobody_is_refused_what_a_block_has")],
    },
    Mutation {
        name: "rest-of-a-large-unit-lost-to-one-page",
        selection: Selection::Whole,
        file: SCARCE,
        find: "rest == Rest::Divided && fit.len < UNITS as u64",
        replace: "rest == Rest::Lost && fit.len < UNITS as u64",
        why: "a narrow device uses 2 MiB of addresses up with each page",
        caught_by: &[adversary(
            "a_narrow_device_has_a_large_unit_divided_instead_of_using_it_up",
        )],
    },
    Mutation {
        name: "index-searched-where-nothing-fits",
        selection: Selection::Whole,
        file: SCARCE,
        find: "if !it.entry.rooms(level).hold(need) {",
        replace: "if false {",
        why: "each failing request looks at every block, with interrupts off",
        caught_by: &[NO_CALL_DEAR],
    },
    Mutation {
        name: "index-not-told-of-a-change",
        selection: Selection::Whole,
        file: "dmamap/src/iova/blocks.rs",
        find: "self.reindex(block);",
        replace: "if false {
                self.reindex(block);
            }",
        why: "addresses that are free are not found",
        caught_by: &[NOBODY_REFUSED, edges("nobody_is_refused_what_a_block_has")],
    },
    Mutation {
        name: "freed-units-not-joined-to-those-beside-them",
        selection: Selection::Whole,
        file: "dmamap/src/iova/blocks.rs",
        find: "let (first, end) = it.units.marks().run_around(unit);",
        replace: "let (first, end) = (unit, unit + units);",
        why: "addresses that are free are not found",
        caught_by: &[NOBODY_REFUSED, edges("nobody_is_refused_what_a_block_has")],
    },
    Mutation {
        name: "index-of-blocks-unbalanced",
        selection: Selection::Whole,
        file: "dmamap/src/iova/index.rs",
        find: "> self.height(children[other]) + 1",
        replace: "> self.height(children[other]) + 200",
        why: "each change goes up a list of all blocks",
        caught_by: &[NO_CALL_DEAR],
    },
    Mutation {
        name: "gaps-told-apart-by-length-alone",
        selection: Selection::Whole,
        file: "dmamap/src/iova/gaps.rs",
        find: "
            && need.rooms.as_ref().is_none_or(|need| self.rooms.hold(need))",
        replace: "",
        why: "a request whose alignment no gap has looks at every gap, with interrupts off",
        caught_by: &[NO_CALL_DEAR],
    },
    Mutation {
        name: "rooms-take-a-boundary-for-none",
        selection: Selection::Whole,
        file: "dmamap/src/iova/rooms.rs",
        find: "log2 @ 1..=LARGEST_BOUNDARY if align < order => boundary_class(log2),",
        replace: "log2 @ 1..=LARGEST_BOUNDARY if align < order => boundary_class(log2) - 1,",
        why: "addresses that are free are not found",
        caught_by: &[NOBODY_REFUSED],
    },
];

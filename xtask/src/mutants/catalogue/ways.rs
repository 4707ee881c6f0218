//! The way to memory that was asked for, and no other.

use super::super::mutation::{Mutation, Selection, Test};

const fn end_to_end(name: &'static str) -> Test {
    Test::program("cli", "end_to_end", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "row-attached-strict",
        selection: Selection::Whole,
        file: "cli/src/journeys/rig.rs",
        find: "protection: row.way.protection(),",
        replace: "protection: Protection::Strict,",
        why: "rows that are called deferred and bounce are strict ones, and pass",
        caught_by: &[end_to_end(
            "boards::every_journey_is_made_on_every_model_that_can",
        )],
    },
    Mutation {
        name: "journey-attached-strict",
        selection: Selection::Whole,
        file: "journeys/src/computer.rs",
        find: "self.system.attach(function, self.protection)",
        replace: "self.system.attach(function, Protection::Strict)",
        why: "a journey that is to show copies or flushes shows neither",
        caught_by: &[Test::program("journeys", "matrix", "every_journey_is_made")],
    },
    Mutation {
        name: "deferred-policy-is-strict",
        selection: Selection::Whole,
        file: "cli/src/bring_up.rs",
        find: "Policy::Deferred => Protection::Deferred,",
        replace: "Policy::Deferred => Protection::Strict,",
        why: "what was asked for is not what is measured",
        caught_by: &[end_to_end(
            "policies::deferred_leaves_unmaps_to_flushes_and_says_how_long_they_waited",
        )],
    },
    Mutation {
        name: "second-disk-drives-all-lines",
        selection: Selection::Whole,
        file: "cli/src/run.rs",
        find: "address_lines: args.address_bits, ..DiskSpec::new(file, input.len_bytes, Medium::ReadWrite)",
        replace: "..DiskSpec::new(file, input.len_bytes, Medium::ReadWrite)",
        why: "the disk of the copy reaches what a disk with so few lines does not",
        caught_by: &[end_to_end(
            "bounced::what_was_written_by_way_of_copies_is_read_back",
        )],
    },
];

//! What `dmamap bench` says was measured, and what is.

use super::super::mutation::{Mutation, Selection, Test};

const fn end_to_end(name: &'static str) -> Test {
    Test::program("cli", "end_to_end", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "deferred-measured-strict",
        selection: Selection::Whole,
        file: "cli/src/bench/measure.rs",
        find: "Policy::Deferred => booted.attach_idle(disk, Protection::Deferred)",
        replace: "Policy::Deferred => booted.attach_idle(disk, Protection::Strict)",
        why: "what was asked for is not what is measured",
        caught_by: &[end_to_end("bench::deferred_shares_waits_between_unmaps")],
    },
    Mutation {
        name: "measured-memory-freed-before-its-flush",
        selection: Selection::Whole,
        file: "cli/src/bench/worker.rs",
        find: "device.flush()?; drop(memory);",
        replace: "let _ = device; drop(memory);",
        why: "memory that came back before its flush is freed while the device reaches it",
        caught_by: &[end_to_end("bench::deferred_shares_waits_between_unmaps")],
    },
    Mutation {
        name: "measured-list-of-one-page",
        selection: Selection::Whole,
        file: "cli/src/bench/lend.rs",
        find: "let pages = piece.len_bytes() / FRAME_BYTES;",
        replace: "let pages = 1; let _ = piece;",
        why: "what one page costs is said of many",
        caught_by: &[end_to_end("bench::each_page_of_a_list_lies_alone")],
    },
    Mutation {
        name: "warm-up-measured",
        selection: Selection::Whole,
        file: "cli/src/bench/worker.rs",
        find: "ring.work(stages.warm_up, &mut recorded)?; recorded.forget();",
        replace: "ring.work(stages.warm_up, &mut recorded)?;",
        why: "what a cold cache and an empty ring cost is said of warm ones",
        caught_by: &[
            end_to_end("bench::strict_waits_for_the_unit_at_every_unmap"),
            end_to_end("bench::people_are_told_the_same"),
        ],
    },
    Mutation {
        name: "one-threads-latencies-for-all",
        selection: Selection::Whole,
        file: "cli/src/bench/measure.rs",
        find: "Some(Ok(recorded)) => all.merge(&recorded),",
        replace: "Some(Ok(recorded)) => all = recorded,",
        why: "what the others waited for does not show",
        caught_by: &[end_to_end(
            "bench::threads_and_rings_and_what_lives_are_as_asked",
        )],
    },
    Mutation {
        name: "link-to-a-plot-replaced",
        selection: Selection::Whole,
        file: "cli/src/bench/drawing.rs",
        find: "Ok(_) => fs::canonicalize(path)?,",
        replace: "Ok(_) => path.to_owned(),",
        why: "the file the user meant is not the one that is drawn",
        caught_by: &[end_to_end(
            "bench::a_plot_is_drawn_whole_of_what_was_measured",
        )],
    },
];

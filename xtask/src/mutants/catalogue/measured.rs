//! What `dmamap bench` says was measured, and what is.

use super::super::mutation::{Mutation, Selection, Test};

const fn end_to_end(name: &'static str) -> Test {
    Test::program("cli", "end_to_end", name)
}

const fn mappings(name: &'static str) -> Test {
    Test::program("dmamap", "metadata/mappings", name)
}

const fn tables(name: &'static str) -> Test {
    Test::program("dmamap", "metadata/tables", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "shadows-beside-the-lowest-tables",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/map.rs",
        find: "fn has_shadow(level: u32) -> bool { level > 1",
        replace: "fn has_shadow(level: u32) -> bool { level > 0",
        why: "each mapping costs twice the memory",
        caught_by: &[
            mappings(
                "a_live_mapping_costs_no_more_than_16_bytes_behind_every_unit_and_nothing_when_it_is_gone",
            ),
            tables(
                "a_gib_of_4k_takes_no_more_than_2_01_mib_and_one_of_2m_no_more_than_8_kib_in_every_format",
            ),
        ],
    },
    Mutation {
        name: "short-mappings-measured-in-place",
        selection: Selection::Whole,
        file: "cli/src/bench/measure.rs",
        find: "copy_below_bytes: load.copy_below_bytes,",
        replace: "copy_below_bytes: load.copy_below_bytes.min(1),",
        why: "what was asked for is not what is measured",
        caught_by: &[end_to_end(
            "bench::what_is_short_is_copied_and_asks_no_unit_and_what_is_not_waits",
        )],
    },
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

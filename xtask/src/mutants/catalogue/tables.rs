//! What a unit walks is whole and visible before the unit is led there.

use super::super::mutation::{Mutation, Selection, Test};

const MAP: &str = "dmamap/src/pagetable/map.rs";
const NEAR: &str = "dmamap/src/pagetable/near.rs";
const PAGETABLE: &str = "dmamap/src/pagetable/mod.rs";
const FRAME: &str = "dmamap/src/frame.rs";

const fn pagetable(name: &'static str) -> Test {
    Test::program("dmamap", "pagetable", name)
}

const STALE_WORD: Test =
    pagetable("vtd_second_stage::a_unit_that_does_not_snoop_never_meets_a_stale_word");
const CLEANED_LINES: Test = pagetable("vtd_second_stage::exactly_the_modified_lines_are_cleaned");

const fn contexts(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/device_tables", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "leaf-not-cleaned",
        selection: Selection::Core,
        file: MAP,
        find: "self.publish(table, first..first + batch.count);",
        replace: "",
        why: "a unit that does not snoop does not see the new mapping",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "cleared-leaf-not-cleaned",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/unmap.rs",
        find: "self.publish(table, entries);",
        replace: "",
        why: "a unit that does not snoop walks to memory that was unmapped",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "new-table-not-cleaned",
        selection: Selection::Core,
        file: MAP,
        find: "if self.format.coherence() == WalkCoherence::NotSnooped { table.clean(0..table.len()); }",
        replace: "",
        why: "a unit that does not snoop takes what the frame held before for entries",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "link-not-cleaned",
        selection: Selection::Whole,
        file: MAP,
        find: "self.publish(parent.table, index..index + 1);",
        replace: "",
        why: "a unit that does not snoop does not find the new table",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "unlink-not-cleaned",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/empty.rs",
        find: "self.publish(parent.table, index..index + 1);",
        replace: "",
        why: "a unit that does not snoop walks into a table that was given back",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "root-table-not-cleaned",
        selection: Selection::Whole,
        file: PAGETABLE,
        find: "if format.coherence() == WalkCoherence::NotSnooped { table.clean(0..table.len()); }",
        replace: "",
        why: "a unit that does not snoop takes what the frame held before for entries",
        caught_by: &[STALE_WORD, CLEANED_LINES],
    },
    Mutation {
        name: "new-table-linked-before-it-is-visible",
        selection: Selection::Whole,
        file: MAP,
        find: "self.platform.dma_wmb();",
        replace: "",
        why: "where stores may pass each other, a unit follows the link before the zeros behind it arrived",
        caught_by: &[Test::program(
            "dmamap",
            "table_order",
            "a_new_table_is_in_memory_before_the_link_to_it",
        )],
    },
    Mutation {
        name: "walk-goes-on-in-an-unlinked-table",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/empty.rs",
        find: "self.path.reset();",
        replace: "",
        why: "the next mapping close by is written to a table that is somebody else's by then",
        caught_by: &[
            pagetable("vtd_second_stage::the_largest_leaf_is_used_at_every_alignment"),
            pagetable("riscv::an_empty_table_in_the_way_is_mapped_with_smaller_leaves"),
        ],
    },
    Mutation {
        name: "unlinked-table-stays-near",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/empty.rs",
        find: "self.near.clear();",
        replace: "",
        why: "the next mapping close by is written to a table that is somebody else's by then",
        caught_by: &[pagetable(
            "vtd_second_stage::an_unlinked_table_is_near_no_more",
        )],
    },
    Mutation {
        name: "near-entries-written-over",
        selection: Selection::Core,
        file: NEAR,
        find: "&& are_empty(entries) =>",
        replace: "&& !entries.is_empty() =>",
        why: "memory that a device was given is replaced by other memory under it",
        caught_by: &[pagetable(
            "vtd_second_stage::near_requests_say_what_walks_would",
        )],
    },
    Mutation {
        name: "near-run-mapped-without-its-hint",
        selection: Selection::Whole,
        file: NEAR,
        find: "if words.are_plain(entries.len()) &&",
        replace: "if",
        why: "a unit remembers a run page by page",
        caught_by: &[pagetable("amd_v1::near_requests_say_what_walks_would")],
    },
    Mutation {
        name: "near-leaf-not-told-from-a-run",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/page_words.rs",
        find: "is_page && (rest.is_empty()",
        replace: "(is_page || word != 0) && (rest.is_empty()",
        why: "part of a run is unmapped, of which a unit remembers all",
        caught_by: &[pagetable(
            "arm_lpae_stage1::near_requests_say_what_walks_would",
        )],
    },
    Mutation {
        name: "unlinked-table-freed-at-once",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/gather.rs",
        find: "self.tables.push(table);",
        replace: "unsafe { table.free() };",
        why: "a unit that remembers the table walks in a frame that is somebody else's",
        caught_by: &[pagetable(
            "vtd_second_stage::nothing_is_freed_that_a_unit_may_still_walk",
        )],
    },
    Mutation {
        name: "unlinked-table-forgets-its-size",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/frame_list.rs",
        find: "words.store(FRAMES, (words.frames() as u64) << FRAME_SIZE_LOG2);",
        replace: "words.store(FRAMES, 1 << FRAME_SIZE_LOG2);",
        why: "of a table of 16 or 64 KiB only the first frame is given back",
        caught_by: &[pagetable(
            "arm_lpae_stage1::frames_return_to_birth_after_reclaim",
        )],
    },
    Mutation {
        name: "large-table-not-aligned-to-its-size",
        selection: Selection::Whole,
        file: MAP,
        find: "align_log2: geometry.table_bytes(level).ilog2(),",
        replace: "",
        why: "an entry has no room for the lower bits of the table's address: the unit walks elsewhere",
        caught_by: &[pagetable(
            "arm_lpae_stage1::random_use_agrees_with_a_page_by_page_oracle",
        )],
    },
    Mutation {
        name: "run-hinted-where-memory-is-not-aligned",
        selection: Selection::Core,
        file: MAP,
        find: "(bus ^ phys) >> geometry.size_log2(level) & (run as u64 - 1) == 0",
        replace: "(bus ^ bus) >> geometry.size_log2(level) & (run as u64 - 1) == 0",
        why: "the unit takes one entry's address for the whole run's, and reaches memory that was not mapped",
        caught_by: &[
            pagetable("riscv::aligned_runs_carry_the_hint"),
            pagetable("amd_v1::aligned_runs_carry_the_hint"),
        ],
    },
    Mutation {
        name: "part-of-a-run-unmapped",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/unmap.rs",
        find: "if span == Span::Run {",
        replace: "if false {",
        why: "a unit that remembers the run as one page goes on reaching the rest of it, or loses it",
        caught_by: &[pagetable("arm_lpae_stage2::part_of_a_run_is_not_unmapped")],
    },
    Mutation {
        name: "device-table-entry-not-cleaned",
        selection: Selection::Core,
        file: FRAME,
        find: "self.word(index).store(value, Ordering::Release);
            self.publish(index * 8, 8);",
        replace: "self.word(index).store(value, Ordering::Release);",
        why: "a unit that does not snoop sees neither that a device was attached nor that it was detached",
        caught_by: &[contexts("entries_reach_a_unit_that_does_not_snoop")],
    },
    Mutation {
        name: "new-device-table-not-cleaned",
        selection: Selection::Whole,
        file: FRAME,
        find: "this.publish(0, frames.len_bytes() as usize);",
        replace: "",
        why: "a unit that does not snoop takes what the frame held before for context entries",
        caught_by: &[contexts("entries_reach_a_unit_that_does_not_snoop")],
    },
    Mutation {
        name: "context-entry-present-before-it-is-whole",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/device_table.rs",
        find: "if !present { context.store(index + 1, high); }
            context.store(index, low);",
        replace: "context.store(index, low);
            if !present { context.store(index + 1, high); }",
        why: "a unit that fetches the entry in between takes its width and domain from an empty half",
        caught_by: &[contexts(
            "an_entry_of_a_requester_is_never_met_half_written",
        )],
    },
];

//! What a unit walks is whole and visible before the unit is led there.

use super::super::mutation::{Mutation, Selection, Test};

const MAP: &str = "dmamap/src/pagetable/map.rs";
const PAGETABLE: &str = "dmamap/src/pagetable/mod.rs";
const FRAME: &str = "dmamap/src/frame.rs";

const fn pagetable(name: &'static str) -> Test {
    Test::program("dmamap", "pagetable", name)
}

const STALE_WORD: Test =
    pagetable("vtd_second_stage::a_unit_that_does_not_snoop_never_meets_a_stale_word");
const CLEANED_LINES: Test = pagetable("vtd_second_stage::exactly_the_modified_lines_are_cleaned");

const fn contexts(name: &'static str) -> Test {
    Test::program("dmamap", "device_tables", name)
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

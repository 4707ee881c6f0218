//! What units are asked, and how often they are waited for: fences that several CPUs share, and ranges that are named by
//! few commands.

use super::super::mutation::{Mutation, Selection, Test};

const SUBMIT: &str = "dmamap/src/iommu/command_ring/submit.rs";
const GROUP: &str = "dmamap/src/iommu/fence_group.rs";

const fn shared(name: &'static str) -> Test {
    Test::program("dmamap", "waits/shared", name)
}

const fn interleaved() -> Test {
    Test::library(
        "dmamap",
        "iommu::fence_group_interleaved::every_submission_ends_and_none_before_its_fence",
    )
}

const fn group(name: &'static str) -> Test {
    Test::library("dmamap", name)
}

const fn per_mib() -> Test {
    Test::program(
        "dmamap",
        "waits/per_mib",
        "a_ring_of_256_kib_costs_few_commands_and_no_walk_caches",
    )
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "group-waits-for-the-fence-before-it",
        selection: Selection::Core,
        file: GROUP,
        find: "number: self.last.number.wrapping_add(1),",
        replace: "number: self.last.number,",
        why: "an unmap is over before the unit has done what it was asked",
        caught_by: &[
            interleaved(),
            group(
                "iommu::fence_group::tests::two_fences_go_at_once_and_the_third_waits_for_the_first",
            ),
        ],
    },
    Mutation {
        name: "every-submission-fenced",
        selection: Selection::Whole,
        file: GROUP,
        find: "let is_time = self.is_one_under_way_at_most() || patience == Patience::Over;",
        replace: "let is_time = true;",
        why: "CPUs that unmap at once do not share waits",
        caught_by: &[
            interleaved(),
            shared("all_who_unmap_while_a_unit_hangs_share_one_wait"),
        ],
    },
    Mutation {
        name: "reset-fences-still-under-way",
        selection: Selection::Whole,
        file: GROUP,
        find: "        self.over = end;
        self.open = false;",
        replace: "        self.open = false;",
        why: "after a reset everybody waits for fences that went with it",
        caught_by: &[group(
            "iommu::fence_group::tests::a_reset_leaves_no_fence_to_wait_for",
        )],
    },
    Mutation {
        name: "group-without-a-fence",
        selection: Selection::Whole,
        file: SUBMIT,
        find: "self.see_to_fence(ports, ticket, patience(look));",
        replace: "let _ = patience(look);",
        why: "whoever joined a group waits for a fence that nobody writes",
        caught_by: &[shared("all_who_unmap_while_a_unit_hangs_share_one_wait")],
    },
    Mutation {
        name: "patience-without-end",
        selection: Selection::Whole,
        file: SUBMIT,
        find: "Look::Late | Look::Last => Patience::Over",
        replace: "Look::Late | Look::Last => Patience::Left",
        why: "where a unit dropped the waits of others, nobody asks it again",
        caught_by: &[shared(
            "who_loses_patience_with_what_others_wait_for_gets_a_wait_of_its_own",
        )],
    },
    Mutation {
        name: "unlinked-told-by-vtd-always",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/invalidation.rs",
        find: "let hint = change.tables == TableChange::Kept;",
        replace: "let hint = false;
    let _ = (change.tables, TableChange::Kept);",
        why: "the unit's walks begin at the top after every unmap",
        caught_by: &[per_mib()],
    },
    Mutation {
        name: "unlinked-told-by-amd-always",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/amd/invalidation.rs",
        find: "let pde = change.tables == TableChange::Unlinked;",
        replace: "let pde = change.tables == TableChange::Unlinked || true;",
        why: "the unit's walks begin at the top after every unmap",
        caught_by: &[per_mib()],
    },
    Mutation {
        name: "unlinked-told-by-smmu-always",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/smmu/invalidation.rs",
        find: "let leaf = change.tables == TableChange::Kept;",
        replace: "let leaf = change.tables == TableChange::Kept && false;",
        why: "the unit's walks begin at the top after every unmap",
        caught_by: &[per_mib()],
    },
    Mutation {
        name: "unlinked-told-by-riscv-always",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/riscv/invalidation.rs",
        find: "let unlinked = change.tables == TableChange::Unlinked;",
        replace: "let unlinked = change.tables == TableChange::Unlinked || true;",
        why: "the unit's walks begin at the top after every unmap",
        caught_by: &[per_mib()],
    },
    Mutation {
        name: "ranges-named-exactly",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/cover.rs",
        find: "is_snug.then_some(Self {",
        replace: "(is_snug && first == last).then_some(Self {",
        why: "memory that begins inside a page takes two commands where one does",
        caught_by: &[per_mib()],
    },
    Mutation {
        name: "blocks-begin-where-ranges-do",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/cover.rs",
        find: "start: first >> around_log2 << around_log2 << FRAME_SIZE_LOG2,",
        replace: "start: first << FRAME_SIZE_LOG2,",
        why: "the one block that names a range begins in the middle of where it may",
        caught_by: &[group(
            "iommu::cover::tests::every_page_is_covered_by_few_aligned_blocks",
        )],
    },
    Mutation {
        name: "several-commands-told-as-one",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/command_batch.rs",
        find: "&self.commands[..self.len]",
        replace: "&self.commands[..self.len.min(1)]",
        why: "of a range that takes several commands only the first is forgotten",
        caught_by: &[Test::program(
            "dmamap",
            "smmu/strict_unmap",
            "memory_is_out_of_reach_when_unmap_returns_however_much_it_was",
        )],
    },
    Mutation {
        name: "only-the-first-unit-told",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain/walkers.rs",
        find: "self.0 &= self.0.wrapping_sub(1);",
        replace: "self.0 = 0;",
        why: "a unit goes on using what devices behind another have lost",
        caught_by: &[group(
            "iommu::domain::walkers::tests::every_bit_is_a_unit_once",
        )],
    },
    Mutation {
        name: "smmu-range-rounded-down",
        selection: Selection::Core,
        file: "dmamap/src/iommu/smmu/invalidation.rs",
        find: "let num = pages.div_ceil(1 << scale);",
        replace: "let num = pages >> scale;",
        why: "the last pages of a range are not forgotten",
        caught_by: &[Test::program(
            "dmamap",
            "smmu/strict_unmap",
            "memory_is_out_of_reach_when_unmap_returns_however_much_it_was",
        )],
    },
];

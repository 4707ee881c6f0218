//! What CPUs choose, map and retire on their own: who has a block, and what becomes of what others did to it.

use super::super::mutation::{Mutation, Selection, Test};

const BLOCK: &str = "dmamap/src/iova/lanes/lent.rs";
const LANES: &str = "dmamap/src/iova/lanes/mod.rs";
const RECALL: &str = "dmamap/src/iova/lanes/recall.rs";
const SEATS: &str = "dmamap/src/percpu.rs";
const HELD: &str = "dmamap/src/pagetable/held.rs";
const DOMAIN: &str = "dmamap/src/iommu/domain/lanes.rs";
const LENDING: &str = "dmamap/src/iova/lend.rs";
const RETIRE: &str = "dmamap/src/iommu/retire.rs";

const RANGES: Test = Test::library(
    "dmamap",
    "iova::lanes::range::tests::what_is_said_of_a_few_units_is_what_is_said_of_the_range",
);

const fn addresses(name: &'static str) -> Test {
    Test::program("dmamap", "iova/lanes", name)
}

const fn tables(name: &'static str) -> Test {
    Test::program("dmamap", "pagetable", name)
}

const fn mapping(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/lanes", name)
}

const fn disks(name: &'static str) -> Test {
    Test::program("journeys", "read_disk", name)
}

const fn stages(name: &'static str) -> Test {
    Test::program("dmamap", "deferred/stages", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "more-of-a-range-not-looked-for",
        selection: Selection::Core,
        file: BLOCK,
        find: "&& is_joined && !goes_on",
        replace: "&& is_joined",
        why: "part of a range is unmapped as if it were all of it",
        caught_by: &[RANGES],
    },
    Mutation {
        name: "ranges-side-by-side-taken-for-one",
        selection: Selection::Core,
        file: BLOCK,
        find: "&& is_joined && !goes_on",
        replace: "&& !goes_on",
        why: "memory of others is unmapped with one's own",
        caught_by: &[RANGES],
    },
    Mutation {
        name: "limits-of-what-is-at-hand-not-looked-at",
        selection: Selection::Core,
        file: "dmamap/src/iova/lanes/at_hand.rs",
        find: "first.as_u64() <= self.first && self.last <= last.as_u64()",
        replace: "first <= last",
        why: "a device is given addresses that it does not reach",
        caught_by: &[addresses("one_thread_on_many_cpus_agrees_with_an_oracle")],
    },
    Mutation {
        name: "page-at-hand-at-an-offset",
        selection: Selection::Whole,
        file: "dmamap/src/iova/request.rs",
        find: "self.align_log2 <= log2 && ",
        replace: "",
        why: "a page is not where it was to be aligned",
        caught_by: &[addresses("one_thread_on_many_cpus_agrees_with_an_oracle")],
    },
    Mutation {
        name: "ordinary-request-across-a-boundary",
        selection: Selection::Whole,
        file: "dmamap/src/iova/request.rs",
        find: " && log2 <= self.boundary_log2",
        replace: "",
        why: "a range crosses a boundary that it was not to cross",
        caught_by: &[Test::library(
            "dmamap",
            "iova::lanes::request::tests::ordinary_requests_are_requests",
        )],
    },
    Mutation {
        name: "part-of-a-power-of-two-taken-for-all",
        selection: Selection::Whole,
        file: "dmamap/src/iova/request.rs",
        find: "false => Self(log2 as u8 | Self::PART)",
        replace: "false => Self(log2 as u8)",
        why: "more is taken than the range has, and given back with it",
        caught_by: &[
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
            Test::library(
                "dmamap",
                "iova::lanes::request::tests::ordinary_requests_are_requests",
            ),
        ],
    },
    Mutation {
        name: "long-range-over-others",
        selection: Selection::Core,
        file: "dmamap/src/iova/lanes/at_hand.rs",
        find: "if { words }.any(|word| word.used() != 0) {",
        replace: "if { words }.any(|word| word.used() != 0) && false {",
        why: "two ranges of several words have the same addresses",
        caught_by: &[addresses("one_thread_on_many_cpus_agrees_with_an_oracle")],
    },
    Mutation {
        name: "limits-of-a-long-range-not-looked-at",
        selection: Selection::Whole,
        file: "dmamap/src/iova/lanes/at_hand.rs",
        find: "if first < limits.0.as_u64() || limits.1.as_u64() < last {",
        replace: "if first > last {",
        why: "a device is given addresses that it does not reach",
        caught_by: &[addresses("one_thread_on_many_cpus_agrees_with_an_oracle")],
    },
    Mutation {
        name: "long-range-ends-but-for-its-last-word",
        selection: Selection::Whole,
        file: BLOCK,
        find: "            word.give(units);\n",
        replace: "            _ = (word, units);\n",
        why: "what a range has of its last word is never free again",
        caught_by: &[addresses("one_thread_on_many_cpus_agrees_with_an_oracle")],
    },
    Mutation {
        name: "another-word-of-the-block-not-at-hand",
        selection: Selection::Whole,
        file: "dmamap/src/iova/lanes/at_hand.rs",
        find: "self.turn_to(granule);",
        replace: "",
        why: "another range than the one that was freed is free",
        caught_by: &[
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
            addresses("ranges_of_all_threads_never_overlap_whoever_frees_them"),
        ],
    },
    Mutation {
        name: "range-of-another-cpu-not-left",
        selection: Selection::Core,
        file: BLOCK,
        find: "self.freed[self.unit(granule) / 64].fetch_or(starts, Ordering::Release);",
        replace: "let _ = (&self.freed, starts);",
        why: "what other CPUs free is in use for ever",
        caught_by: &[
            addresses("what_another_cpu_freed_is_chosen_again_by_its_own"),
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
        ],
    },
    Mutation {
        name: "left-ranges-forgotten",
        selection: Selection::Whole,
        file: BLOCK,
        find: "self.end_range(granule, len);",
        replace: "let _ = len;",
        why: "what other CPUs free is in use for ever",
        caught_by: &[
            addresses("what_another_cpu_freed_is_chosen_again_by_its_own"),
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
        ],
    },
    Mutation {
        name: "range-of-another-cpu-ended-in-place",
        selection: Selection::Core,
        file: LANES,
        find: "if block.owner() != cpu {",
        replace: "if block.owner() != cpu && false {",
        why: "two CPUs change a block at once, and its owner loses what it wrote",
        caught_by: &[
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
            addresses("ranges_of_all_threads_never_overlap_whoever_frees_them"),
        ],
    },
    Mutation {
        name: "lanes-keep-what-there-is-room-in",
        selection: Selection::Core,
        file: RECALL,
        find: "(block.is_unused() || block.longest() >= fit.len)",
        replace: "block.is_unused()",
        why: "a request is refused though a block of a lane has room for it",
        caught_by: &[addresses(
            "a_range_is_refused_only_where_there_is_no_room_in_any_lane",
        )],
    },
    Mutation {
        name: "lanes-keep-nothing-at-a-recall",
        selection: Selection::Whole,
        file: RECALL,
        find: "if !(is_hot || is_chosen_from) || recall.needs(block, self.granule_log2) {",
        replace: "if !(is_hot || is_chosen_from) || true {",
        why: "who is refused takes a block from others for each of their pages",
        caught_by: &[addresses(
            "who_asks_about_all_blocks_does_not_cost_a_block_for_each_page",
        )],
    },
    Mutation {
        name: "gaps-of-lanes-not-said",
        selection: Selection::Whole,
        file: RECALL,
        find: "widest = widest.max(block.longest());",
        replace: "widest = 0;",
        why: "a refusal says that no gap is as wide as one is",
        caught_by: &[addresses("a_refusal_says_how_wide_the_gaps_of_lanes_are")],
    },
    Mutation {
        name: "recalled-blocks-not-looked-through",
        selection: Selection::Whole,
        file: RECALL,
        find: "block.collect();\n                    let is_chosen_from",
        replace: "let is_chosen_from",
        why: "what other CPUs freed of a block stays in use when it goes back",
        caught_by: &[
            addresses("cpus_choose_from_blocks_of_their_own"),
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
        ],
    },
    Mutation {
        name: "block-goes-back-as-unused",
        selection: Selection::Core,
        file: LENDING,
        find: "it.units = marks.into();",
        replace: "it.units = Marks::FREE.into();",
        why: "two owners are given one address",
        caught_by: &[
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
            addresses("cpus_choose_from_blocks_of_their_own"),
        ],
    },
    Mutation {
        name: "cpus-enter-though-stopped",
        selection: Selection::Core,
        file: SEATS,
        find: "if self.state.load(Ordering::Acquire) != OPEN && !self.may_go_on() {",
        replace: "if self.state.load(Ordering::Acquire) == u8::MAX && !self.may_go_on() {",
        why: "a block goes back while its owner chooses from it",
        caught_by: &[
            addresses("nothing_is_lost_to_blocks_that_are_recalled_at_any_time"),
            addresses("ranges_of_all_threads_never_overlap_whoever_frees_them"),
        ],
    },
    Mutation {
        name: "held-entries-not-counted",
        selection: Selection::Core,
        file: HELD,
        find: "path.add_present(level, 1);",
        replace: "",
        why: "the table of a lane is unlinked under it",
        caught_by: &[
            mapping("threads_unmap_what_others_mapped"),
            mapping("each_page_of_long_and_odd_mappings_is_reached_whatever_the_granule"),
        ],
    },
    Mutation {
        name: "let-go-entries-not-counted",
        selection: Selection::Core,
        file: HELD,
        find: "path.add_present(level, entries.count());",
        replace: "let _ = entries.count();",
        why: "a table is unlinked though something is mapped in it",
        caught_by: &[mapping("threads_unmap_what_others_mapped")],
    },
    Mutation {
        name: "lane-entries-not-cleared",
        selection: Selection::Core,
        file: HELD,
        find: "clear(entries); publish(platform, coherence, entries);",
        replace: "let _ = clear; publish(platform, coherence, entries);",
        why: "unmapped memory stays within reach",
        caught_by: &[
            mapping("what_another_thread_unmapped_is_out_of_reach"),
            mapping("threads_unmap_what_others_mapped"),
        ],
    },
    Mutation {
        name: "word-left-to-another-lacks-ranges",
        selection: Selection::Core,
        file: "dmamap/src/iova/lanes/free_many.rs",
        find: "*starts |= 1 << (granule - *unit);",
        replace: "*starts |= u64::from(granule - *unit == 63) << 63;",
        why: "what another CPU staged is never free again",
        caught_by: &[stages(
            "what_cpus_staged_comes_back_whoever_flushes_and_whatever_its_length",
        )],
    },
    Mutation {
        name: "block-emptied-by-a-flush-stays",
        selection: Selection::Core,
        file: "dmamap/src/iova/lanes/free_many.rs",
        find: "Self::Own(block) => lane.part_if_unused(block).map(Parted),",
        replace: "Self::Own(block) => lane.part_if_unused(block).map(Parted).filter(|_| false),",
        why: "a block that a lane parted with is nobody's",
        caught_by: &[stages("blocks_that_a_flush_empties_are_given_back")],
    },
    Mutation {
        name: "lane-frees-before-the-unit-forgot",
        selection: Selection::Core,
        file: DOMAIN,
        find: "match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                free();
                Ok(())
            }",
        replace: "free();
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => Ok(()),",
        why: "addresses are chosen again that the unit still translates",
        caught_by: &[mapping(
            "what_no_unit_confirmed_is_nobodys_until_it_is_recovered",
        )],
    },
    Mutation {
        name: "unconfirmed-range-kept-in-a-lane",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/unconfirmed.rs",
        find: "let emptied = self.recall(inner, Recall::KeepingFrames);",
        replace: "let emptied = Gather::new(self.platform);",
        why: "a range whose end was not confirmed cannot be kept from others",
        caught_by: &[mapping(
            "what_no_unit_confirmed_is_nobodys_until_it_is_recovered",
        )],
    },
    Mutation {
        name: "staged-not-counted",
        selection: Selection::Whole,
        file: RETIRE,
        find: "self.take_in_stages(&mut inner);",
        replace: "",
        why: "what waits is told as less than it is",
        caught_by: &[stages(
            "what_cpus_staged_is_counted_and_one_flush_covers_it",
        )],
    },
    Mutation {
        name: "flush-without-what-is-staged",
        selection: Selection::Core,
        file: RETIRE,
        find: "if inner.queue.may_take() {",
        replace: "if false {",
        why: "what a CPU retired is said to be flushed, and is not",
        caught_by: &[stages(
            "what_was_staged_for_a_flush_that_failed_is_kept_until_it_is_recovered",
        )],
    },
    Mutation {
        name: "stages-beyond-the-bound",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/flush_queue/mod.rs",
        find: "waiting.entries.len() + waiting.owned as usize + self.staged",
        replace: "waiting.entries.len() + waiting.owned as usize",
        why: "more waits for a flush than is allowed",
        caught_by: &[stages("no_more_waits_than_is_allowed_on_all_cpus_together")],
    },
    Mutation {
        name: "lane-entries-not-written-back",
        selection: Selection::Whole,
        file: DOMAIN,
        find: "all.publish(self.platform, entries);",
        replace: "let _ = all;",
        why: "a unit that does not snoop finds nothing at what was mapped",
        caught_by: &[disks("walks_that_do_not_snoop_find_their_tables")],
    },
    Mutation {
        name: "lane-unmaps-without-the-unit",
        selection: Selection::Core,
        file: DOMAIN,
        find: "match self.each_walker(|unit| unit.invalidate(self.id, change)) {",
        replace: "let _ = change;
        match Ok::<(), crate::iommu::UnitError>(()) {",
        why: "memory comes back while the unit still leads the device to it",
        caught_by: &[disks("every_temper_reads_the_same")],
    },
    Mutation {
        name: "tail-of-a-large-range-not-said",
        selection: Selection::Core,
        file: BLOCK,
        find: "it.store(tail, Ordering::Relaxed);",
        replace: "let _ = (it, tail);",
        why: "a range that is not whole large units has another length when its block goes back, and cannot be freed",
        caught_by: &[
            addresses("a_range_of_parts_of_large_units_is_as_long_after_a_recall"),
            addresses("one_thread_on_many_cpus_agrees_with_an_oracle"),
        ],
    },
    Mutation {
        name: "last-large-block-lent",
        selection: Selection::Whole,
        file: LENDING,
        find: "let is_left = level == Level::Granules || divided.has_large(tree, zone);",
        replace: "let is_left = true;",
        why: "in a small space each large range of one CPU calls the blocks of all others back",
        caught_by: &[addresses(
            "in_a_small_space_one_large_block_is_left_for_all_cpus",
        )],
    },
    Mutation {
        name: "held-though-a-table-is-there",
        selection: Selection::Core,
        file: HELD,
        find: "if !table.are_empty(first..first + HELD) {",
        replace: "if table.len() < HELD {",
        why: "a leaf takes the place of a table that a unit may remember",
        caught_by: &[tables(
            "vtd_second_stage::entries_that_lead_to_tables_are_not_held",
        )],
    },
    Mutation {
        name: "large-entries-taken-for-small",
        selection: Selection::Whole,
        file: DOMAIN,
        find: "Level::Blocks => 2",
        replace: "Level::Blocks => 1",
        why: "large pages are mapped under the domain's lock, and by a walk",
        caught_by: &[mapping("cpus_map_large_pages_in_blocks_of_their_own")],
    },
    Mutation {
        name: "recall-forgets-large-blocks",
        selection: Selection::Core,
        file: RECALL,
        find: "for lane in &mut seat.lanes {",
        replace: "for lane in &mut seat.lanes[..1] {",
        why: "what lanes have of large blocks is not counted, kept nor found",
        caught_by: &[
            addresses("a_range_of_parts_of_large_units_is_as_long_after_a_recall"),
            addresses("cpus_choose_from_blocks_of_their_own"),
        ],
    },
];

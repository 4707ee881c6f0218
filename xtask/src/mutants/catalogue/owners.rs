//! What owners of lanes map, unmap and retire: by whom it is flushed, and what becomes of it when lane or device ends.

use super::super::mutation::{Mutation, Selection, Test};

const LANE: &str = "dmamap/src/map/lane.rs";
const DOMAIN: &str = "dmamap/src/iommu/domain.rs";
const OWNED: &str = "dmamap/src/iommu/domain/owned.rs";
const END: &str = "dmamap/src/iommu/domain/end.rs";
const UNCONFIRMED: &str = "dmamap/src/iommu/unconfirmed.rs";
const QUEUE: &str = "dmamap/src/iommu/flush_queue/mod.rs";
const STAGE: &str = "dmamap/src/iommu/flush_queue/own_stage.rs";
const COVERED: &str = "dmamap/src/iommu/flush_queue/covered.rs";

const fn mapping(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/own_lane", name)
}

const fn panics(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/panics", name)
}

const fn deferred(name: &'static str) -> Test {
    Test::program("dmamap", "deferred/own_lane", name)
}

const fn own() -> Test {
    Test::library(
        "dmamap",
        "iommu::flush_queue::interleaved::what_an_owner_stages_for_a_flush_no_unit_finds_after_it",
    )
}

const fn of_all() -> Test {
    Test::library(
        "dmamap",
        "iommu::flush_queue::interleaved::what_an_owner_stages_that_leaves_fences_to_the_flush_no_unit_finds_after_it",
    )
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "owner-does-not-look-for-a-flush",
        selection: Selection::Core,
        file: STAGE,
        find: "if self.desk.covered.is_set() {",
        replace: "if self.desk.covered.is_set() && false {",
        why: "a lane takes what it retires for flushed by a flush that began before",
        caught_by: &[
            deferred("what_lanes_staged_is_counted_and_one_flush_covers_it"),
            deferred("what_a_lane_retired_is_out_of_reach_whoever_flushes"),
        ],
    },
    Mutation {
        name: "owners-alone-flush-nothing",
        selection: Selection::Core,
        file: QUEUE,
        find: "waiting.entries.len() == 0 && !waiting.is_for_owners",
        replace: "waiting.entries.len() == 0",
        why: "where lanes alone retired something no flush is made, and all of it counts as flushed",
        caught_by: &[
            deferred("what_a_lane_retired_is_out_of_reach_whoever_flushes"),
            deferred("what_a_lane_staged_for_a_flush_that_failed_is_kept_until_it_is_recovered"),
        ],
    },
    Mutation {
        name: "blocks-of-owners-not-in-the-flush",
        selection: Selection::Core,
        file: STAGE,
        find: "waiting.gather.add_leaves(start, len_bytes);",
        replace: "let _ = (start, len_bytes);",
        why: "a flush is not about what lanes retired",
        caught_by: &[deferred(
            "what_a_lane_retired_is_out_of_reach_whoever_flushes",
        )],
    },
    Mutation {
        name: "failed-flush-of-a-lane-taken-for-good",
        selection: Selection::Core,
        file: OWNED,
        find: "Ok(()) => {\n                stage.note_flushed(",
        replace: "_ => {\n                stage.note_flushed(",
        why: "a lane takes for flushed what units did not confirm",
        caught_by: &[deferred(
            "what_a_lane_could_not_flush_for_itself_is_lost_and_what_it_stages_next_is_not",
        )],
    },
    Mutation {
        name: "lane-flushes-less-than-it-staged",
        selection: Selection::Core,
        file: STAGE,
        find: "for (start, len_bytes) in &self.ranges[..self.len] {",
        replace: "for (start, len_bytes) in &self.ranges[self.len.saturating_sub(1)..self.len] {",
        why: "memory comes back that units remember still, as the lane's own flush was not about it",
        caught_by: &[deferred(
            "what_a_lane_retired_is_out_of_reach_whoever_flushes",
        )],
    },
    Mutation {
        name: "ticket-that-an-owner-holds-counts-as-settled",
        selection: Selection::Core,
        file: STAGE,
        find: "owed.of_an_owner().is_some_and(|ticket| !is_held(ticket))",
        replace: "owed.of_an_owner().is_some_and(|ticket| !is_held(ticket) || true)",
        why: "memory comes back that the lane has not flushed yet",
        caught_by: &[
            deferred("what_a_lane_retired_is_out_of_reach_whoever_flushes"),
            deferred("a_lane_that_goes_on_flushes_for_itself_alone"),
        ],
    },
    Mutation {
        name: "ticket-that-an-owner-settled-waits-for-others",
        selection: Selection::Whole,
        file: QUEUE,
        find: "self.is_settled_by_owner(owed).then_some(Ok(()))",
        replace: "(self.is_settled_by_owner(owed) && false).then_some(Ok(()))",
        why: "memory that a lane flushed for itself comes back when somebody else flushes",
        caught_by: &[
            deferred("what_a_lane_retired_is_out_of_reach_whoever_flushes"),
            deferred("a_lane_that_goes_on_flushes_for_itself_alone"),
        ],
    },
    Mutation {
        name: "ticket-that-an-owner-lost-counts-as-settled",
        selection: Selection::Core,
        file: OWNED,
        find: "inner.queue.lose_stage(stage, error);",
        replace: "let _ = error;",
        why: "memory comes back though the flush that a lane made for it failed",
        caught_by: &[
            deferred(
                "what_a_lane_could_not_flush_for_itself_is_lost_and_what_it_stages_next_is_not",
            ),
            deferred("what_a_lane_staged_for_a_flush_that_failed_is_kept_until_it_is_recovered"),
        ],
    },
    Mutation {
        name: "what-an-owner-lost-keeps-all-from-being-flushed",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/retire.rs",
        find: "false => self.flush_or_wait(everything, FlushQueue::outcome_of_all)",
        replace: "false => self.flush_or_wait(everything, FlushQueue::outcome)",
        why: "a flush that is asked for fails at once for what a lane has lost, and nothing is flushed",
        caught_by: &[deferred(
            "what_a_lane_could_not_flush_for_itself_is_lost_and_what_it_stages_next_is_not",
        )],
    },
    Mutation {
        name: "lane-flushes-for-all",
        selection: Selection::Whole,
        file: OWNED,
        find: "false => self.flush_lane(&mut lane.stage)",
        replace: "false => { let _ = Self::flush_lane; self.flush_through(lane.stage.owed()) }",
        why: "all who retire wait for a lane's flush, and CPUs are made to fence for it",
        caught_by: &[deferred("a_lane_that_goes_on_flushes_for_itself_alone")],
    },
    Mutation {
        name: "failed-flush-among-tickets-lost-before-forgotten",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/flush_queue/tickets.rs",
        find: "known.flush = lost.flush;",
        replace: "let _ = known;",
        why: "whoever flushes is told that all is well, though the flush failed",
        caught_by: &[Test::library(
            "dmamap",
            "iommu::flush_queue::tickets::tests::owners_tickets_are_told_from_others_and_lost_one_by_one",
        )],
    },
    Mutation {
        name: "entries-of-a-lane-not-cleared",
        selection: Selection::Core,
        file: OWNED,
        find: "withdraw(self.platform, words.coherence(), entries);",
        replace: "let _ = (withdraw::<P>, words, entries);",
        why: "what a lane unmaps stays mapped",
        caught_by: &[
            mapping("lanes_and_the_device_agree_with_an_oracle"),
            mapping("what_a_lane_unmapped_is_out_of_reach"),
        ],
    },
    Mutation {
        name: "lane-frees-before-units-forget",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/lanes.rs",
        find: "match self.each_walker(|unit| unit.invalidate(self.id, change)) {",
        replace: "let _ = change;\n        match Ok::<(), UnitError>(()) {",
        why: "memory that a lane unmapped comes back while units remember where it was",
        caught_by: &[mapping("what_a_lane_unmapped_is_out_of_reach")],
    },
    Mutation {
        name: "lane-ends-with-ranges-staged",
        selection: Selection::Whole,
        file: OWNED,
        find: "        self.settle_lane(lane);\n        let Some(",
        replace: "        let Some(",
        why: "addresses that wait for a flush when their lane ends are taken for ever",
        caught_by: &[
            mapping("lanes_and_the_device_agree_with_an_oracle"),
            deferred("what_a_lane_retired_is_out_of_reach_whoever_flushes"),
        ],
    },
    Mutation {
        name: "range-of-an-owner-not-kept",
        selection: Selection::Whole,
        file: UNCONFIRMED,
        find: "unsafe { lent.keep() };",
        replace: "let _ = lent;",
        why: "what a lane could not unmap nobody is given again, though units have confirmed it",
        caught_by: &[mapping(
            "what_no_unit_confirmed_is_nobodys_until_it_is_recovered",
        )],
    },
    Mutation {
        name: "block-of-another-lane-taken-for-ones-own",
        selection: Selection::Core,
        file: "dmamap/src/iova/lanes/owned.rs",
        find: "is_own.then_some(found)",
        replace: "(is_own || true).then_some(found)",
        why: "two change a block at once, and its owner loses what it wrote",
        caught_by: &[Test::program(
            "dmamap",
            "iova/owned",
            "lanes_of_owners_and_of_cpus_agree_with_an_oracle",
        )],
    },
    Mutation {
        name: "kept-range-of-a-lane-not-asked-about",
        selection: Selection::Whole,
        file: "dmamap/src/iova/lanes/owned.rs",
        find: "                kept(range);\n",
        replace: "                let _ = (&mut kept, range);\n",
        why: "what the units had confirmed before its lane ended is nobody's for ever",
        caught_by: &[mapping(
            "what_was_recovered_under_a_lane_is_free_again_when_that_has_ended",
        )],
    },
    Mutation {
        name: "ended-table-freed-under-a-lane",
        selection: Selection::Core,
        file: END,
        find: "(Some(table), 0) => unsafe { table.free() },",
        replace: "(Some(table), _) => unsafe { table.free() },",
        why: "a lane that outlives its device writes into frames of others",
        caught_by: &[mapping("a_lane_outlives_its_device")],
    },
    Mutation {
        name: "domain-with-a-lane-handed-over",
        selection: Selection::Core,
        file: DOMAIN,
        find: "match mapped + inner.owners as u64 {",
        replace: "match mapped {",
        why: "the owner of a domain is not alone in it",
        caught_by: &[mapping("a_domain_with_a_lane_is_not_handed_over")],
    },
    Mutation {
        name: "lane-maps-when-its-device-left",
        selection: Selection::Core,
        file: LANE,
        find: "match core.leaving.load(Ordering::Acquire) {",
        replace: "match core.leaving.load(Ordering::Acquire) && false {",
        why: "a device that is detached has memory mapped, which others of its group reach",
        caught_by: &[mapping(
            "a_lane_of_a_member_that_left_maps_nothing_in_the_domain_of_the_others",
        )],
    },
    Mutation {
        name: "lane-keeps-to-an-old-mask",
        selection: Selection::Core,
        file: LANE,
        find: "if mask.last() != self.last {",
        replace: "if mask.last() != self.last && false {",
        why: "a device is given addresses that it does not reach",
        caught_by: &[mapping("no_mapping_lies_above_a_mask_that_became_narrower")],
    },
    Mutation {
        name: "lane-maps-while-asleep",
        selection: Selection::Whole,
        file: LANE,
        find: "!core.system.is_asleep() && ",
        replace: "",
        why: "mappings are made that nothing knows of when the system wakes",
        caught_by: &[mapping(
            "a_lane_maps_nothing_while_the_system_sleeps_and_goes_on_when_it_wakes",
        )],
    },
    Mutation {
        name: "lane-drops-memory-that-panics",
        selection: Selection::Core,
        file: LANE,
        find: "match self.map_pieces(&*buffer, &terms) {",
        replace: "let buffer = ManuallyDrop::into_inner(buffer);\n        let mapped = self.map_pieces(&buffer, &terms);\n        let buffer = ManuallyDrop::new(buffer);\n        match mapped {",
        why: "memory that panics while a lane maps it is freed while mapped",
        caught_by: &[panics(
            "memory_that_panics_while_a_lane_has_it_is_never_freed_while_mapped",
        )],
    },
    Mutation {
        name: "owner-looks-without-order",
        selection: Selection::Core,
        file: COVERED,
        find: "false => fence(Ordering::SeqCst)",
        replace: "false => {}",
        why: "an owner looks whether a flush has begun before what it cleared is in memory",
        caught_by: &[own()],
    },
    Mutation {
        name: "owner-looks-without-order-of-the-compiler",
        selection: Selection::Whole,
        file: COVERED,
        find: "true => compiler_fence(Ordering::SeqCst),",
        replace: "true => {}",
        why: "an owner looks whether a flush has begun before what it cleared is in memory",
        caught_by: &[of_all()],
    },
    Mutation {
        name: "flush-begins-without-order",
        selection: Selection::Core,
        file: COVERED,
        find: "    fence(Ordering::SeqCst);\n    if",
        replace: "    if",
        why: "a flush begins that owners do not see, and that does not find what they cleared",
        caught_by: &[own()],
    },
    Mutation {
        name: "flush-does-not-fence-owners",
        selection: Selection::Core,
        file: COVERED,
        find: "        platform.fence_cpus();",
        replace: "        let _ = platform;",
        why: "a flush begins that owners do not see, and that does not find what they cleared",
        caught_by: &[of_all()],
    },
];

//! Unmaps that share a flush: what waits for it is nobody else's.

use super::super::mutation::{Mutation, Selection, Test};

const RETIRE: &str = "dmamap/src/iommu/retire.rs";
const TICKETS: &str = "dmamap/src/iommu/flush_queue/tickets.rs";
const RETIRED: &str = "dmamap/src/map/live/retired.rs";

const fn deferred(name: &'static str) -> Test {
    Test::program("dmamap", "deferred", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "addresses-that-wait-are-missing",
        selection: Selection::Core,
        file: "dmamap/src/map/translated.rs",
        find: "if error.lacks_addresses() && domain.flush_addresses() => {",
        replace: "if error.lacks_addresses() && domain.flush_addresses() && false => {",
        why: "a device of few bus addresses maps nothing more until a timer comes",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/scarce",
            "what_waits_for_a_flush_is_flushed_where_its_addresses_are_missing",
        )],
    },
    Mutation {
        name: "addresses-a-lane-staged-are-missing",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/owned.rs",
        find: "let has_staged = lane.stage.extent().is_some();
        self.settle_lane(lane);
        has_staged",
        replace: "let has_staged = lane.stage.extent().is_some();
        has_staged && false",
        why: "a lane that has staged all addresses maps nothing more",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/scarce",
            "what_a_lane_staged_is_flushed_where_its_addresses_are_missing",
        )],
    },
    Mutation {
        name: "addresses-free-before-their-flush-is-settled",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/retire.rs",
        find: "inner.queue.settle(&flight, outcome);
        inner.queue.publish(&self.confirmed);
        drop(inner);
        let emptied = match reach {
            Reach::Live => unsafe { self.free_all(flight.ranges()) },
            Reach::Revoked | Reach::Unconfirmed => Gather::new(self.platform),
        };
        let mut inner = self.inner.lock();",
        replace: "drop(inner);
        let emptied = match reach {
            Reach::Live => unsafe { self.free_all(flight.ranges()) },
            Reach::Revoked | Reach::Unconfirmed => Gather::new(self.platform),
        };
        let mut inner = self.inner.lock();
        inner.queue.settle(&flight, outcome);
        inner.queue.publish(&self.confirmed);",
        why: "addresses are chosen again while the flush of what was there is still to come, as far as anybody knows",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/reuse",
            "what_a_large_flush_frees_is_settled_before_it_is_given_out",
        )],
    },
    Mutation {
        name: "long-range-noted-as-a-short-one",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/flush_queue/packed.rs",
        find: "(pages <= PAGES).then_some(",
        replace: "(pages <= PAGES || true).then_some(",
        why: "of a range of 16 MiB that a flush was about another is free than was retired",
        caught_by: &[Test::library(
            "dmamap",
            "iommu::flush_queue::packed::tests::ranges_are_what_they_were",
        )],
    },
    Mutation {
        name: "confirmed-though-a-flush-failed",
        selection: Selection::Whole,
        file: TICKETS,
        find: "if self.lost[0].is_none() {",
        replace: "{",
        why: "who asks without the lock is told that units confirmed what they did not",
        caught_by: &[Test::library(
            "dmamap",
            "iommu::flush_queue::tickets::tests::more_losses_than_are_told_apart_are_never_forgotten",
        )],
    },
    Mutation {
        name: "flush-without-invalidation",
        selection: Selection::Core,
        file: RETIRE,
        find: "self.each_walker(|unit| unit.invalidate(self.id, Change { range, tables }))",
        replace: "Ok::<(), crate::iommu::UnitError>(())",
        why: "memory comes back as flushed while units still remember the way to it",
        caught_by: &[deferred(
            "exposure::a_device_reaches_what_was_retired_until_the_flush_and_not_after_it",
        )],
    },
    Mutation {
        name: "retired-memory-back-without-a-flush",
        selection: Selection::Core,
        file: RETIRED,
        find: "let outcome = self.flush();",
        replace: "let outcome = self.earlier.owed.map(|_| ());",
        why: "the device may write memory that its owner has back",
        caught_by: &[deferred(
            "exposure::a_device_reaches_what_was_retired_until_the_flush_and_not_after_it",
        )],
    },
    Mutation {
        name: "unmap-of-an-untrusted-device-without-a-flush",
        selection: Selection::Core,
        file: "dmamap/src/device/protection.rs",
        find: "(Protection::Identity | Protection::Deferred, Trust::Withheld) => Revocation::Shared,",
        replace: "(Protection::Identity | Protection::Deferred, Trust::Withheld) => Revocation::Later,",
        why: "nobody vouched for the device, and it reaches memory that was given back",
        caught_by: &[
            deferred("exposure::unmap_of_a_device_nobody_vouched_for_flushes_before_it_returns"),
            Test::program("journeys", "matrix", "every_journey_is_made"),
        ],
    },
    Mutation {
        name: "mapping-weakens-its-device",
        selection: Selection::Core,
        file: "dmamap/src/device/protection.rs",
        find: "Revocation::of(self.protection().or_stronger(wanted), self.trust)",
        replace: "Revocation::of(wanted, self.trust)",
        why: "a mapping is protected less than its device",
        caught_by: &[deferred(
            "protection::a_mapping_is_never_protected_less_than_its_device",
        )],
    },
    Mutation {
        name: "lost-tickets-forgotten",
        selection: Selection::Core,
        file: TICKETS,
        find: "Some(slot) => *slot = Some(lost),",
        replace: "Some(_) => {}",
        why: "memory whose flush was not confirmed is given back",
        caught_by: &[deferred(
            "unconfirmed::everything_in_a_flush_that_is_not_confirmed_is_kept",
        )],
    },
    Mutation {
        name: "remapped-memory-forgets-its-earlier-addresses",
        selection: Selection::Core,
        file: RETIRED,
        find: "earlier: Some(note),",
        replace: "earlier: Some(note).filter(|_| false),",
        why: "the device reaches memory through the addresses it was retired from before",
        caught_by: &[deferred(
            "remap::memory_that_is_lent_again_comes_back_only_when_all_its_addresses_are_lost",
        )],
    },
    Mutation {
        name: "no-timer-for-the-flush-queue",
        selection: Selection::Core,
        file: RETIRE,
        find: "self.platform.call_at(deadline_ns, timer.clone());",
        replace: "let _ = (deadline_ns, timer);",
        why: "what is retired and forgotten stays reachable for ever",
        caught_by: &[deferred("window::a_timer_flushes_what_nobody_asks_for")],
    },
    Mutation {
        name: "flush-queue-without-end",
        selection: Selection::Core,
        file: RETIRE,
        find: "if inner.queue.is_full() {
                drop(guard);",
        replace: "if inner.queue.is_full() && inner.queue.is_empty() {
                drop(guard);",
        why: "a full queue is not flushed: unmaps do it one by one",
        caught_by: &[deferred("window::who_finds_the_queue_full_flushes")],
    },
    Mutation {
        name: "maps-do-not-mind-tables-that-wait-for-a-flush",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/walkers.rs",
        find: "Linked::WhileUnlinking if self.flush_tables() => Linked::WhileUnlinking,",
        replace: "Linked::WhileUnlinking if false && self.flush_tables() => Linked::WhileUnlinking,",
        why: "a unit looks for a new mapping in a table that is not part of the walk any more",
        caught_by: &[deferred(
            "sharing::what_is_mapped_while_a_table_waits_for_its_flush_is_found",
        )],
    },
    Mutation {
        name: "block-with-two-owners",
        selection: Selection::Core,
        file: "dmamap/src/map/buffer_pool.rs",
        find: "let number = self.shared.free.lock().pop()?;",
        replace: "let number = *self.shared.free.lock().last()?;",
        why: "two owners write one block",
        caught_by: &[deferred(
            "buffer_pool::blocks_are_apart_and_all_can_be_taken",
        )],
    },
];

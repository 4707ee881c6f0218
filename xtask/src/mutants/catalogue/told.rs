//! Units that are told of mappings by requests: of each, and of none twice.

use super::super::mutation::{Mutation, Selection, Test};

const RECORD: &str = "dmamap/src/iommu/virtio/record.rs";

const fn told(name: &'static str) -> Test {
    Test::program("dmamap", "virtio/told", name)
}

const fn requests(name: &'static str) -> Test {
    Test::program("dmamap", "virtio/requests", name)
}

const fn leaving(name: &'static str) -> Test {
    Test::program("dmamap", "virtio/leaving", name)
}

const fn faults(name: &'static str) -> Test {
    Test::program("dmamap", "virtio/faults", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "told-leaf-not-marked",
        selection: Selection::Whole,
        file: RECORD,
        find: "table.rewrite_leaves(all, usize::MAX, RecordFormat::told);",
        replace: "let _ = (table, all);",
        why: "what a restart told the unit is told again, and refused",
        caught_by: &[
            told("what_a_restart_told_is_not_told_again"),
            told("a_large_leaf_is_told_as_a_whole_and_once"),
        ],
    },
    Mutation {
        name: "marks-outlive-a-restart",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/virtio/start.rs",
        find: "record.forget_told();",
        replace: "let _ = record;",
        why: "a unit that was reset is not told what was mapped before",
        caught_by: &[
            told("what_a_restart_told_is_not_told_again"),
            requests("after_a_restart_every_mapping_is_there_and_can_go_alone"),
        ],
    },
    Mutation {
        name: "marks-outlive-the-domain-in-the-unit",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/virtio/device_table.rs",
        find: "record.forget_told();",
        replace: "let _ = record;",
        why: "a device finds nothing mapped in a domain that somebody left before it came",
        caught_by: &[faults(
            "reserved_memory_is_told_whenever_its_device_is_attached",
        )],
    },
    Mutation {
        name: "refused-leaf-counts-as-told",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/virtio/mod.rs",
        find: "record.forget_if((first, last), || queue.is_now(asked_at));",
        replace: "let _ = (last, asked_at);",
        why: "a second sync says that the unit knows what it refused",
        caught_by: &[told("what_the_unit_refused_is_asked_again")],
    },
    Mutation {
        name: "told-by-a-restart-not-waited-for",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/virtio/queue.rs",
        find: "if state.covered != state.epoch && ports.asker == Asker::Anybody {",
        replace: "if state.covered != state.epoch && ports.asker == Asker::Anybody && !requests.is_empty() {",
        why: "a device is sent to addresses that a restart has not told the unit of yet",
        caught_by: &[told(
            "who_finds_all_told_by_a_restart_waits_until_it_is_over",
        )],
    },
    Mutation {
        name: "marks-of-one-stretch-taken",
        selection: Selection::Whole,
        file: RECORD,
        find: "next = kept.table.as_mut().and_then(|table| {",
        replace: "next = kept.table.as_mut().filter(|_| first == BusAddr::new(0)).and_then(|table| {",
        why: "a unit that was reset is told of the first mappings alone",
        caught_by: &[told("a_restart_tells_of_more_than_a_stretch")],
    },
    Mutation {
        name: "last-detach-not-waited-for",
        selection: Selection::Core,
        file: RECORD,
        find: "self.hand_over(Presence::Leaving, hand_over)",
        replace: "self.hand_over(Presence::Absent, hand_over)",
        why: "memory comes back that a device reaches whose detach the unit has not heard of yet",
        caught_by: &[leaving(
            "memory_comes_back_only_when_a_detach_that_ends_its_domain_was_answered",
        )],
    },
    Mutation {
        name: "leaver-forgotten-before-it-has-left",
        selection: Selection::Core,
        file: "dmamap/src/iommu/virtio/mod.rs",
        find: "let outcome = self.send_detach(",
        replace: "self.devices.clear(attachment.stream);
        let outcome = self.send_detach(",
        why: "who unmaps finds no domain, and waits for nothing",
        caught_by: &[leaving(
            "memory_comes_back_only_when_a_detach_that_ends_its_domain_was_answered",
        )],
    },
    Mutation {
        name: "asked-behind-the-last-detach",
        selection: Selection::Whole,
        file: RECORD,
        find: "self.hand_over(Presence::Leaving, hand_over)",
        replace: "self.hand_over(Presence::Present, hand_over)",
        why: "a unit is asked to unmap in a domain that is gone, or another's by then",
        caught_by: &[leaving(
            "nothing_is_asked_of_a_domain_behind_the_detach_that_ends_it",
        )],
    },
];

//! What stands between the crate virtio-drivers and its devices.

use super::super::mutation::{Mutation, Selection, Test};

const RING: &str = "drivers/src/virtio/ring.rs";
const TRANSPORT: &str = "drivers/src/virtio/transport.rs";

const fn hostile(name: &'static str) -> Test {
    Test::program("journeys", "virtio_devices/hostile", name)
}

const fn failures(name: &'static str) -> Test {
    Test::program("journeys", "virtio_devices/failures", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "virtio-index-before-request",
        selection: Selection::Whole,
        file: RING,
        find: "self.platform.dma_wmb();
            let index = self.available",
        replace: "let index = self.available",
        why: "where stores may pass each other a device reads a request that is not there yet",
        caught_by: &[Test::program(
            "drivers",
            "virtio/order",
            "a_request_is_in_memory_before_its_index_and_that_before_the_doorbell_rings",
        )],
    },
    Mutation {
        name: "virtio-access-platform-not-accepted",
        selection: Selection::Whole,
        file: TRANSPORT,
        find: "Features::new().with_access_platform(true)",
        replace: "Features::new()",
        why: "a device behind an IOMMU refuses to work with a driver that does not know of it",
        caught_by: &[Test::program(
            "journeys",
            "virtio_devices/everywhere",
            "every_virtio_journey_is_made",
        )],
    },
    Mutation {
        name: "virtio-answer-length-believed",
        selection: Selection::Whole,
        file: RING,
        find: "if entry.len > writable || is_empty {",
        replace: "if is_empty {",
        why: "the crate takes parts of memory that is not there",
        caught_by: &[hostile("an_entropy_device_that_lies_is_given_up")],
    },
    Mutation {
        name: "virtio-empty-answer-passed-on",
        selection: Selection::Whole,
        file: RING,
        find: "entry.len == 0 && self.answers == Answers::NeverEmpty",
        replace: "false",
        why: "the crate panics at a console that received nothing",
        caught_by: &[hostile(
            "a_console_that_lies_about_what_it_received_is_given_up",
        )],
    },
    Mutation {
        name: "virtio-refused-request-told",
        selection: Selection::Whole,
        file: RING,
        find: "if descriptor.addr == 0 {
                return None;
            }",
        replace: "",
        why: "a device is told of memory that it was not lent",
        caught_by: &[failures(
            "a_request_that_cannot_be_lent_is_not_made_and_the_next_is",
        )],
    },
    Mutation {
        name: "virtio-reset-forgotten-at-the-end",
        selection: Selection::Whole,
        file: TRANSPORT,
        find: "    fn drop(&mut self) {
        if !self.is_reset {
            self.reset();
        }
    }",
        replace: "    fn drop(&mut self) {}",
        why: "a device keeps its queues when their memory is freed",
        caught_by: &[hostile(
            "a_device_that_does_not_reset_loses_its_leave_to_reach_memory",
        )],
    },
];

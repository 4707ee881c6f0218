//! The NVMe driver's half of the protocol.

use super::super::mutation::{Mutation, Selection, Test};

const QUEUE: &str = "drivers/src/nvme/queue.rs";

const fn errors(name: &'static str) -> Test {
    Test::program("drivers", "nvme_controller_errors", name)
}

const fn order(name: &'static str) -> Test {
    Test::program("drivers", "nvme_order", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "doorbell-without-barrier",
        selection: Selection::Whole,
        file: QUEUE,
        find: "self.platform.dma_wmb();",
        replace: "",
        why: "where stores may pass each other the controller fetches an old entry",
        caught_by: &[order("the_entry_is_in_memory_before_the_doorbell_rings")],
    },
    Mutation {
        name: "completion-read-without-barrier",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/publish.rs",
        find: "self.memory.platform().dma_rmb();",
        replace: "",
        why: "where loads may pass each other the data is read before the completion was there",
        caught_by: &[order("what_a_completion_is_about_is_read_after_its_phase")],
    },
    Mutation {
        name: "completions-released-without-barrier",
        selection: Selection::Whole,
        file: QUEUE,
        find: "self.platform.dma_mb();",
        replace: "",
        why: "the controller overwrites a completion that is still being read",
        caught_by: &[order(
            "completions_are_read_before_their_places_are_given_back",
        )],
    },
    Mutation {
        name: "phase-unchecked",
        selection: Selection::Whole,
        file: QUEUE,
        find: "|dw3| Phase::of(CompletionResultDword::from_bits(dw3).p()) == self.head.phase();",
        replace: "|dw3| Phase::of(CompletionResultDword::from_bits(dw3).p()) == self.head.phase() || true;",
        why: "what the last lap left in the queue is taken for a completion",
        caught_by: &[errors(
            "a_completion_in_the_wrong_phase_is_not_seen_and_the_command_times_out",
        )],
    },
    Mutation {
        name: "phase-not-inverted",
        selection: Selection::Whole,
        file: "drivers/src/nvme/ring.rs",
        find: "self.phase = self.phase.inverted();",
        replace: "",
        why: "after the first lap no completion is seen, and old ones are",
        caught_by: &[Test::library(
            "drivers",
            "nvme::ring::tests::the_phase_is_inverted_with_each_lap",
        )],
    },
    Mutation {
        name: "completion-accepted-twice",
        selection: Selection::Whole,
        file: "drivers/src/nvme/slots.rs",
        find: "slot.generation = if slot.generation >= LAST_GENERATION { 0 } else { slot.generation + 1 };",
        replace: "slot.generation = LAST_GENERATION.min(0);",
        why: "a completion of a slot's last command ends its next one, whose memory the device still writes",
        caught_by: &[Test::library(
            "drivers",
            "nvme::slots::tests::a_completion_of_the_previous_use_of_a_slot_is_refused",
        )],
    },
    Mutation {
        name: "memory-unmapped-before-completion",
        selection: Selection::Whole,
        file: "drivers/src/nvme/io_queue.rs",
        find: "self.pair.submit(command.with_id(ticket.id().as_u16()));",
        replace: "self.pair.submit(command.with_id(ticket.id().as_u16()));
            let _ = self.slots.finish(ticket.id().as_u16(), Ok(()), |held| held);",
        why: "the controller works in memory that the driver has taken back",
        caught_by: &[errors("a_slow_disk_is_waited_for")],
    },
    Mutation {
        name: "timed-out-controller-goes-on",
        selection: Selection::Whole,
        file: "drivers/src/nvme/engine.rs",
        find: "let _ = self.controller.cut_off();",
        replace: "",
        why: "memory is given back while the controller still has the command",
        caught_by: &[Test::program(
            "drivers",
            "nvme_given_up",
            "a_trusted_disk_that_is_given_up_writes_nothing_afterwards",
        )],
    },
    Mutation {
        name: "interrupt-forgotten",
        selection: Selection::Whole,
        file: "drivers/src/nvme/interrupts.rs",
        find: "interrupts.table.unmask(vector)?;",
        replace: "let _ = vector;",
        why: "every wait lasts until its next look at the controller",
        caught_by: &[Test::program(
            "drivers",
            "nvme_interrupts",
            "the_message_of_each_completion_reaches_the_kernel",
        )],
    },
];

//! What a call that fails gives back: memory, frames, addresses, slots and counts.

use super::super::mutation::{Mutation, Selection, Test};

const GIVEN: &str = "dmamap/src/map/given.rs";
const ESTABLISH: &str = "dmamap/src/map/establish.rs";

const fn every_call(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/every_call_fails", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "riscv-fault-queue-switched-by-two",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/riscv/registers.rs",
        find: "let _alone = self.fqcsr.lock();",
        replace: "",
        why: "who clears an overflow turns a fault queue on again whose memory goes",
        caught_by: &[Test::program(
            "dmamap",
            "riscv/faults",
            "a_queue_that_is_turned_off_while_an_overflow_is_cleared_stays_off",
        )],
    },
    Mutation {
        name: "buffer-of-a-refused-mapping-kept",
        selection: Selection::Whole,
        file: "dmamap/src/map/establish.rs",
        find: "None => Some(ManuallyDrop::into_inner(owner))",
        replace: "None => {
                let _ = owner;
                None
            }",
        why: "memory is lost by each mapping that fails",
        caught_by: &[Test::program(
            "dmamap",
            "mapping/allocation_failures",
            "mapping_fails_cleanly_and_returns_the_buffer",
        )],
    },
    Mutation {
        name: "addresses-of-a-refused-mapping-kept",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain.rs",
        find: "iova.free(range).expect(\"the range was just allocated\");",
        replace: "",
        why: "bus addresses are lost by each mapping that fails",
        caught_by: &[
            Test::program("dmamap", "streaming/failures", "lists_of_buffers"),
            Test::program(
                "dmamap",
                "mapping/allocation_failures",
                "a_large_list_that_runs_out_of_tables_is_undone",
            ),
            Test::program(
                "dmamap",
                "mapping/allocation_failures",
                "the_bus_address_of_a_failed_mapping_is_the_next_ones",
            ),
            every_call("addresses_of_the_callers_own"),
        ],
    },
    Mutation {
        name: "tables-of-a-refused-mapping-kept",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/frame_list.rs",
        find: "unsafe { list.free() };
                    return Err(error);",
        replace: "return Err(error);",
        why: "frames are lost by each list that runs out of them half way",
        caught_by: &[Test::program(
            "dmamap",
            "mapping/allocation_failures",
            "a_large_list_that_runs_out_of_tables_is_undone",
        )],
    },
    Mutation {
        name: "bounce-copy-lost-where-its-mapping-fails",
        selection: Selection::Whole,
        file: GIVEN,
        find: "unsafe { backing.release(self) };
            return failure;",
        replace: "core::mem::forget(backing);
            return failure;",
        why: "slots are lost by each mapping of a copy that fails",
        caught_by: &[every_call("copies_of_every_kind_of_mapping_on_every_route")],
    },
    Mutation {
        name: "count-of-a-refused-mapping-kept",
        selection: Selection::Whole,
        file: ESTABLISH,
        find: "let error = held.core().not_mapped(asked, failure);
    held.withdraw();",
        replace: "let error = held.core().not_mapped(asked, failure);
    core::mem::forget(held);",
        why: "the device is never given back by who waits for its last mapping",
        caught_by: &[every_call("borrowed_memory_and_pools_of_buffers")],
    },
    Mutation {
        name: "count-of-refused-registers-kept",
        selection: Selection::Whole,
        file: "dmamap/src/map/resource.rs",
        find: "held.withdraw();
                let asked = Asked::from(registers.start(), registers.len_bytes());
                let (core, window)",
        replace: "core::mem::forget(held);
                let asked = Asked::from(registers.start(), registers.len_bytes());
                let (core, window)",
        why: "the device is never given back by who waits for its last mapping",
        caught_by: &[every_call("registers_of_a_peer")],
    },
];

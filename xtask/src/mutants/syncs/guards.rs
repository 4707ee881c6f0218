//! Which tests have to notice that a call is missing.

use super::super::mutation::Test;
use super::rules::Kind;

const fn order(name: &'static str) -> Test {
    Test::program("drivers", "order", name)
}

const fn caches(name: &'static str) -> Test {
    Test::program("journeys", "caches", name)
}

const fn coherent(name: &'static str) -> Test {
    Test::program("dmamap", "coherent", name)
}

const fn mapping(name: &'static str) -> Test {
    Test::program("dmamap", "mapping", name)
}

const fn bounce(name: &'static str) -> Test {
    Test::program("dmamap", "bounce", name)
}

/// Data of every kind of mapping, behind every kind of IOMMU, with caches that are not snooped.
const DATA: Test = caches("forgotten::nothing_is_wrong_with_all_of_them");
const DISKS: Test = caches("whole::disks_are_read_and_written_whole");

const JOURNEYS: Test = caches("whole::every_journey_of_the_catalogue_passes");
const VIRTIO_JOURNEYS: Test = Test::program(
    "journeys",
    "virtio_devices",
    "everywhere::every_virtio_journey_is_made",
);

/// The tests for a kind of call in a place.
struct Guard {
    /// From the workspace's root.
    place: &'static str,
    /// Those who look at the order.
    order: &'static [Test],
    /// Those who look at the data.
    data: &'static [Test],
}

/// The tests for calls in `file`, the likeliest first: those of the place, and whatever it is, the journeys on machines whose
/// caches no device snoops.
pub(super) fn guards(file: &str, kind: Kind) -> Vec<&'static Test> {
    let of_place = GUARDS.iter().find(|guard| file.starts_with(guard.place));
    let mut tests: Vec<&Test> = match (of_place, kind) {
        (None, _) => return Vec::new(),
        (Some(guard), Kind::Order) => guard.order.iter().collect(),
        (Some(guard), Kind::Sync) => guard.data.iter().chain(guard.order).collect(),
    };
    let is_virtio = file.starts_with("drivers/src/virtio");
    tests.push(if is_virtio {
        &VIRTIO_JOURNEYS
    } else {
        &JOURNEYS
    });
    tests
}

const NVME: &[Test] = &[
    order("nvme::an_entry_is_in_memory_at_the_last_barrier_before_its_doorbell"),
    order("nvme::a_completion_is_read_after_its_phase_and_before_its_place_is_given_back"),
    order("nvme::the_queues_are_in_memory_before_the_controller_is_enabled"),
];

const EDU: &[Test] = &[
    order("edu::what_is_to_be_fetched_is_in_memory_before_the_engine_starts"),
    order("edu::what_was_stored_is_read_after_the_engine_stopped"),
];

const TESTDEV: &[Test] = &[
    order("testdev::what_is_to_be_overwritten_is_in_memory_before_the_device_is_armed"),
    order("testdev::what_was_written_is_read_after_the_result"),
];

const VIRTIO: &[Test] = &[
    order("virtio::queues_are_in_memory_before_they_are_enabled"),
    order("virtio::an_answer_is_read_after_the_index_and_its_memory_after_it"),
    order("virtio::what_the_device_interrupts_for_is_read_after_its_reason"),
    order("virtio::what_is_taken_back_is_the_cpus_before_it_is_copied"),
    Test::program(
        "drivers",
        "virtio/order",
        "a_request_is_in_memory_before_its_index_and_that_before_the_doorbell_rings",
    ),
];

const MAPPING: &[Test] = &[
    mapping("order::owned_memory_is_synced_and_then_ordered"),
    mapping("order::memory_without_an_owner_is_synced_and_then_ordered"),
    mapping("order::a_list_is_synced_and_then_ordered"),
    mapping("order::a_table_of_buffers_is_synced_and_then_ordered"),
    mapping("order::a_list_without_an_owner_is_synced_and_then_ordered"),
    mapping("order::noncoherent_memory_is_synced_and_then_ordered"),
    mapping("taken_back::memory_without_an_owner_that_needs_no_maintenance_is_ordered"),
    mapping("taken_back::links_without_owners_are_synced_and_then_ordered"),
    mapping("taken_back::registers_that_the_cpu_may_read_early_are_ordered"),
];

const PUBLISH: &[Test] = &[
    coherent("publish::the_body_is_in_memory_at_the_barrier_and_the_flag_only_after_it"),
    coherent("publish::the_body_is_read_after_the_flag_and_the_flag_once"),
    coherent("publish::memory_whose_stores_may_be_merged_is_published_with_a_full_barrier"),
    coherent("uncached::what_is_published_in_write_combined_memory_is_drained"),
];

const UNCACHED: &[Test] = &[
    coherent("uncached::every_kind_of_coherent_memory_is_seen_by_a_device_that_does_not_snoop"),
    caches("failures::the_mapping_is_made_after_maintenance_and_ends_before_the_frames_do"),
    coherent("uncached::write_combined_memory_is_mapped_so_and_is_in_a_row"),
    DATA,
];

const COPIES: &[Test] = &[bounce(
    "not_snooped::what_was_copied_is_gone_from_memory_when_its_mapping_is_over",
)];

const POOLS: &[Test] = &[bounce(
    "always_mapped::new_memory_of_a_pool_holds_nothing_of_others_beneath_the_caches",
)];

const MAPPED: &[Test] = &[
    DATA,
    bounce("unlinks::copies_of_links_come_back_when_their_device_is_gone"),
];

const MMIO: &[Test] = &[Test::program(
    "dmamap",
    "mmio",
    "ordered_accesses_order_memory_around_them",
)];

const TABLES: &[Test] = &[Test::program(
    "dmamap",
    "table_order",
    "a_new_table_is_in_memory_before_the_link_to_it",
)];

/// By where the call is; the first that fits.
const GUARDS: &[Guard] = &[
    Guard {
        place: "drivers/src/nvme",
        order: NVME,
        data: &[DISKS],
    },
    Guard {
        place: "drivers/src/edu",
        order: EDU,
        data: &[DATA],
    },
    Guard {
        place: "drivers/src/iommu_testdev",
        order: TESTDEV,
        data: &[],
    },
    Guard {
        place: "drivers/src/virtio",
        order: VIRTIO,
        data: &[],
    },
    Guard {
        place: "dmamap/src/map/coherent/non",
        order: MAPPING,
        data: UNCACHED,
    },
    Guard {
        place: "dmamap/src/map/coherent",
        order: PUBLISH,
        data: UNCACHED,
    },
    Guard {
        place: "dmamap/src/map/uncached.rs",
        order: &[],
        data: UNCACHED,
    },
    Guard {
        place: "dmamap/src/map/backing.rs",
        order: &[],
        data: COPIES,
    },
    Guard {
        place: "dmamap/src/map",
        order: MAPPING,
        data: MAPPED,
    },
    Guard {
        place: "dmamap/src/bounce",
        order: &[],
        data: POOLS,
    },
    Guard {
        place: "dmamap/src/mmio",
        order: MMIO,
        data: &[],
    },
    Guard {
        place: "dmamap/src/pagetable",
        order: TABLES,
        data: &[],
    },
    Guard {
        place: "dmamap/src/frame.rs",
        order: &[],
        data: &[DISKS],
    },
    Guard {
        place: "dmamap/src",
        order: MAPPING,
        data: &[DATA],
    },
];

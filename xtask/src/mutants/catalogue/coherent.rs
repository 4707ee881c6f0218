//! Memory that a device and the CPU share: who owns what, and in which order it is handed over.

use super::super::mutation::{Mutation, Selection, Test};

const PUBLISH: &str = "dmamap/src/map/coherent/publish.rs";
const MEMORY: &str = "dmamap/src/map/coherent/memory.rs";
const DECLARED: &str = "dmamap/src/map/coherent/declared.rs";
const POOL: &str = "dmamap/src/map/coherent/pool/mod.rs";

const fn coherent(name: &'static str) -> Test {
    Test::program("dmamap", "coherent", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "flag-before-the-barrier",
        selection: Selection::Whole,
        file: PUBLISH,
        find: "self.memory.order_stores();
            self.memory.write_at(at + flag_start as u64, flag)",
        replace: "self.memory.write_at(at + flag_start as u64, flag)?;
            self.memory.order_stores();
            Ok(())",
        why: "the device takes an entry whose body is not in memory yet",
        caught_by: &[coherent(
            "publish::the_body_is_in_memory_at_the_barrier_and_the_flag_only_after_it",
        )],
    },
    Mutation {
        name: "flag-read-twice",
        selection: Selection::Whole,
        file: PUBLISH,
        find: "entry.as_mut_bytes()[flag_start..flag_end].copy_from_slice(flag.as_bytes());",
        replace: "let _ = (entry.as_mut_bytes(), flag_start, flag_end);",
        why: "a device shows one flag to the check and another to who uses it",
        caught_by: &[coherent(
            "publish::the_body_is_read_after_the_flag_and_the_flag_once",
        )],
    },
    Mutation {
        name: "merged-stores-not-drained",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/elements.rs",
        find: "CpuStores::Combined => self.platform.dma_mb()",
        replace: "CpuStores::Combined => self.platform.dma_wmb()",
        why: "a store barrier does not drain what a CPU merges",
        caught_by: &[coherent(
            "publish::memory_whose_stores_may_be_merged_is_published_with_a_full_barrier",
        )],
    },
    Mutation {
        name: "lines-beside-merged-stores-kept",
        selection: Selection::Whole,
        file: MEMORY,
        find: "(Some(uncached), Coherence::Snooped) => uncached.end(&frames),",
        replace: "(Some(uncached), Coherence::Snooped) => drop(uncached),",
        why: "the next owner of the frames reads lines from before they were written past the caches",
        caught_by: &[coherent(
            "uncached::write_combined_memory_is_mapped_so_and_is_in_a_row",
        )],
    },
    Mutation {
        name: "forced-contiguity-forgotten",
        selection: Selection::Whole,
        file: MEMORY,
        find: "if translated && placement == Placement::Any && len_bytes > 1 << page_log2 =>",
        replace: "if translated && len_bytes > 1 << page_log2 =>",
        why: "memory that was to be in a row is in pieces",
        caught_by: &[coherent(
            "attributes::behind_an_iommu_coherent_memory_needs_no_frames_in_a_row",
        )],
    },
    Mutation {
        name: "coherent-memory-not-aligned-to-its-order",
        selection: Selection::Whole,
        file: "dmamap/src/map/terms.rs",
        find: "Self::AlignedBlock => Alignment::ToOrder,",
        replace: "Self::AlignedBlock => Alignment::Convenient,",
        why: "a device that counts on the alignment writes elsewhere",
        caught_by: &[coherent(
            "attributes::memory_is_zeroed_and_aligned_to_the_order_that_covers_it",
        )],
    },
    Mutation {
        name: "noncoherent-memory-beyond-the-mask",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/noncoherent.rs",
        find: "let last = self.core().route.last_within(self.reach());",
        replace: "let last = crate::addr::PhysAddr::new(u64::MAX);",
        why: "the device is given memory that it has no address lines for",
        caught_by: &[coherent(
            "noncoherent::noncoherent_memory_is_within_the_mask_where_nothing_translates",
        )],
    },
    Mutation {
        name: "declared-memory-not-cleared",
        selection: Selection::Whole,
        file: DECLARED,
        find: "run.zero();",
        replace: "",
        why: "the next owner finds what the last one left",
        caught_by: &[coherent(
            "declared::a_device_with_memory_of_its_own_is_given_no_other",
        )],
    },
    Mutation {
        name: "declared-memory-beyond-the-mask",
        selection: Selection::Whole,
        file: DECLARED,
        find: "end: usize::try_from(end_number.saturating_sub(first_number)).unwrap_or(usize::MAX)",
        replace: "end: usize::try_from(end_number.saturating_sub(first_number)).map_or(usize::MAX, |_| usize::MAX)",
        why: "the device is given memory that it has no address lines for",
        caught_by: &[coherent(
            "declared::memory_has_the_bus_address_it_was_declared_at_within_the_mask",
        )],
    },
    Mutation {
        name: "declared-memory-released-in-use",
        selection: Selection::Whole,
        file: DECLARED,
        find: "if Arc::strong_count(declared) > 1 {",
        replace: "if Arc::strong_count(declared) == 0 {",
        why: "its owner takes memory back that a driver still uses",
        caught_by: &[coherent(
            "declared::a_device_with_memory_of_its_own_is_given_no_other",
        )],
    },
    Mutation {
        name: "run-of-bits-half-taken",
        selection: Selection::Whole,
        file: "dmamap/src/bitmap.rs",
        find: "self.set(found, request.units, true);",
        replace: "self.set(found, request.units.div_ceil(2), true);",
        why: "two owners are lent the same memory",
        caught_by: &[
            Test::library(
                "dmamap",
                "bitmap::tests::a_run_is_found_exactly_where_there_is_one",
            ),
            coherent("area::loans_never_overlap_and_none_is_refused_for_which_there_is_room"),
        ],
    },
    Mutation {
        name: "pool-block-across-its-boundary",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/layout.rs",
        find: "slot / self.per_stretch * self.stretch_bytes + slot % self.per_stretch * self.block_bytes",
        replace: "slot * self.block_bytes",
        why: "the device wraps around at the boundary and writes elsewhere",
        caught_by: &[
            coherent("pool::blocks_have_the_alignment_and_keep_to_the_boundary"),
            coherent("pool_oracle::random_allocations_and_frees_agree_with_an_oracle"),
        ],
    },
    Mutation {
        name: "pool-destroyed-in-use",
        selection: Selection::Whole,
        file: POOL,
        find: "if live_blocks > 0 {",
        replace: "if live_blocks > usize::MAX / 2 {",
        why: "a pool is told to be gone that still holds memory",
        caught_by: &[coherent(
            "pool::a_pool_in_use_is_not_destroyed_and_comes_back_with_the_count",
        )],
    },
    Mutation {
        name: "pool-page-unlinked-in-use",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/page.rs",
        find: "if page.used == 0 {",
        replace: "if page.used <= 1 {",
        why: "a block's memory is given back under it",
        caught_by: &[coherent(
            "pool::blocks_are_reserved_in_advance_and_pages_go_back_when_asked",
        )],
    },
    Mutation {
        name: "pool-damage-unnoticed",
        selection: Selection::Whole,
        file: POOL,
        find: "if block.is_filled_with(FREE) {",
        replace: "if block.is_filled_with(FREE) || !block.is_empty() {",
        why: "nobody learns that the device writes to memory it was not given",
        caught_by: &[coherent(
            "pool::what_a_device_writes_to_free_blocks_changes_no_address_and_is_noticed",
        )],
    },
    Mutation {
        name: "pool-of-another-device-grown",
        selection: Selection::Whole,
        file: POOL,
        find: "if self.core.device_core == core_address(device) {",
        replace: "if self.core.device == device.requester() {",
        why: "after it was attached anew a device is given addresses of its last life",
        caught_by: &[coherent("pool::a_pool_is_grown_by_its_own_device_only")],
    },
    Mutation {
        name: "atomic-memory-not-cleared",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/atomic.rs",
        find: "block.fill(0);",
        replace: "",
        why: "the next owner finds what the last one left",
        caught_by: &[coherent(
            "atomic::allocating_takes_no_frame_maps_nothing_and_freeing_invalidates_nothing",
        )],
    },
    Mutation {
        name: "declared-bar-at-its-physical-address",
        selection: Selection::Whole,
        file: DECLARED,
        find: "let bus = self.on_bus(registers).map_err(|_| not_its_own)?;",
        replace: "let start = crate::addr::BusAddr::new(registers.start().as_u64());
        let bus = BusRange::new(start, registers.len_bytes()).map_err(|_| not_its_own)?;",
        why: "the device is told where the CPU sees its memory (B), not where the bus does (A)",
        caught_by: &[coherent(
            "on_device::memory_behind_a_bar_is_the_devices_coherent_memory",
        )],
    },
];

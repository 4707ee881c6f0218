//! Where a mapping may lie, what it allows, and how it ends.

use super::super::mutation::{Mutation, Selection, Test};

const AS_IT_IS: &str = "dmamap/src/map/as_it_is.rs";

const ATTACH: &str = "dmamap/src/system/attach.rs";

const fn few(name: &'static str) -> Test {
    Test::library("dmamap", name)
}

const fn short_ways(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/short_ways", name)
}

const fn remembered(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/remembered", name)
}

const fn iova(name: &'static str) -> Test {
    Test::program("dmamap", "iova", name)
}

const fn revocation(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/revocation", name)
}

const fn reserved(name: &'static str) -> Test {
    Test::program("dmamap", "system/reserved", name)
}

const fn units(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/units", name)
}

const fn untranslated(name: &'static str) -> Test {
    Test::program("dmamap", "system/untranslated", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "dropped-mapping-not-revoked",
        selection: Selection::Whole,
        file: "dmamap/src/map/owned.rs",
        find: "if let Err(error) = live.revoke_owned(buffer) {
                log::error!(\"{error}\");
            }",
        replace: "drop((live, ManuallyDrop::into_inner(buffer)));",
        why: "the memory is given back while the device still reaches it",
        caught_by: &[
            Test::program(
                "dmamap",
                "vtd/strict_unmap",
                "dropping_a_mapping_and_freeing_coherent_memory_wait_too",
            ),
            revocation("handles_can_be_dropped_in_any_order"),
        ],
    },
    Mutation {
        name: "dropped-coherent-memory-not-revoked",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/mod.rs",
        find: "if let Err(error) = self.end() {
                log::error!(\"{error}\");
            }",
        replace: "drop(self.memory.take());",
        why: "the memory is given back while the device still reaches it",
        caught_by: &[Test::program(
            "dmamap",
            "vtd/strict_unmap",
            "dropping_a_mapping_and_freeing_coherent_memory_wait_too",
        )],
    },
    Mutation {
        name: "borrowed-memory-not-revoked",
        selection: Selection::Whole,
        file: "dmamap/src/map/scoped.rs",
        find: "if live.revoke(self.buffer).is_err() {",
        replace: "drop(live);
            if false {",
        why: "the device reaches memory whose borrow has ended",
        caught_by: &[revocation("figures_follow_every_kind_of_mapping")],
    },
    Mutation {
        name: "dropped-device-not-detached",
        selection: Selection::Whole,
        file: "dmamap/src/device.rs",
        find: "if let Err(error) = self.end() {",
        replace: "if false {
            let error = 0;",
        why: "nobody drives the device, and it goes on with what it was told last",
        caught_by: &[Test::program(
            "dmamap",
            "system/bus_master",
            "a_device_is_a_bus_master_while_it_is_attached",
        )],
    },
    Mutation {
        name: "to-device-is-writable",
        selection: Selection::Whole,
        file: "dmamap/src/map/direction.rs",
        find: "AnyDirection::ToDevice => Permission::Read,",
        replace: "AnyDirection::ToDevice => Permission::ReadWrite,",
        why: "a device changes memory that it was only to read",
        caught_by: &[units("a_direction_is_what_the_device_may_do_and_no_more")],
    },
    Mutation {
        name: "from-device-is-readable",
        selection: Selection::Whole,
        file: "dmamap/src/map/direction.rs",
        find: "AnyDirection::FromDevice => Permission::Write,",
        replace: "AnyDirection::FromDevice => Permission::ReadWrite,",
        why: "a device reads what the memory held before",
        caught_by: &[units("a_direction_is_what_the_device_may_do_and_no_more")],
    },
    Mutation {
        name: "mask-ignored",
        selection: Selection::Whole,
        file: "dmamap/src/map/translated.rs",
        find: ".below(terms.mask.last());",
        replace: ";",
        why: "the device drops the upper bits of the address and reaches something else",
        caught_by: &[reserved("the_narrowest_mask_leaves_the_second_page_only")],
    },
    Mutation {
        name: "limit-ignored-by-the-allocator",
        selection: Selection::Whole,
        file: "dmamap/src/iova/search.rs",
        find: "(place_end <= end.min(self.end))",
        replace: "(place_end <= end)",
        why: "the device drops the upper bits of the address and reaches something else",
        caught_by: &[iova("the_last_byte_is_within_the_limit")],
    },
    Mutation {
        name: "mask-ignored-without-iommu",
        selection: Selection::Whole,
        file: "dmamap/src/map/direct.rs",
        find: "if mask.covers(range) {",
        replace: "if mask.covers(range) || true {",
        why: "a device is given an address that it cannot put on the bus",
        caught_by: &[untranslated(
            "memory_beyond_the_mask_is_refused_where_it_must_not_be_copied",
        )],
    },
    Mutation {
        name: "message-window-not-reserved",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/mod.rs",
        find: "BusRange::new(BusAddr::new(start), len).into_iter().collect()",
        replace: "{ let _ = (start, len); Vec::new() }",
        why: "what a device writes there becomes interrupts and never reaches memory",
        caught_by: &[reserved(
            "a_device_can_use_every_address_of_its_mask_but_the_reserved_ones",
        )],
    },
    Mutation {
        name: "bridge-windows-not-reserved",
        selection: Selection::Whole,
        file: "dmamap/src/system/reserved.rs",
        find: ".chain(windows)",
        replace: ".chain(windows.take(0))",
        why: "requests of a device to a peer's registers and to memory cannot be told apart",
        caught_by: &[reserved(
            "a_device_can_use_every_address_of_its_mask_but_the_reserved_ones",
        )],
    },
    Mutation {
        name: "firmwares-regions-not-reserved",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain.rs",
        find: "inner.iova.reserve(range)?;",
        replace: "let _ = range;",
        why: "an address is chosen at which the device reaches what firmware reserved for it",
        caught_by: &[reserved(
            "a_device_can_use_every_address_of_its_mask_but_the_reserved_ones",
        )],
    },
    Mutation {
        name: "page-0-allocatable",
        selection: Selection::Whole,
        file: "dmamap/src/iova/mod.rs",
        find: "first_granule(aperture.start(), granule_log2).max(1);",
        replace: "first_granule(aperture.start(), granule_log2);",
        why: "a register that was never written holds a valid address",
        caught_by: &[iova("address_zero_is_never_allocated")],
    },
    Mutation {
        name: "double-free-accepted",
        selection: Selection::Whole,
        file: "dmamap/src/iova/mod.rs",
        find: "extent.start == start && extent.kind == Use::Allocated",
        replace: "extent.start == start && extent.kind != Use::Kept",
        why: "a reserved range can be freed, and then be allocated",
        caught_by: &[iova("a_wrong_free_is_refused_and_changes_nothing")],
    },
    Mutation {
        name: "reserved-units-are-anybodys",
        selection: Selection::Whole,
        file: "dmamap/src/iova/divided.rs",
        find: "|| [it.reserved, it.kept, it.asked]",
        replace: "|| [it.kept, it.asked]",
        why: "a reserved range can be freed, and then be allocated",
        caught_by: &[iova(
            "blocks::reserving_in_a_block_keeps_what_is_free_and_refuses_what_is_not",
        )],
    },
    Mutation {
        name: "units-beside-a-range-are-given-back",
        selection: Selection::Whole,
        file: "dmamap/src/iova/divided.rs",
        find: "let Place { block, unit, units, .. } = *place;
        self.blocks.give(block, unit, units);",
        replace: "let Place { block, unit, units, .. } = *place;
        let units = units.next_power_of_two().min(UNITS - unit);
        self.blocks.give(block, unit, units);",
        why: "addresses of one mapping are given to another",
        caught_by: &[iova(
            "blocks::random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits",
        )],
    },
    Mutation {
        name: "reserved-beside-a-range-until-it-goes",
        selection: Selection::Whole,
        file: "dmamap/src/iova/divided.rs",
        find: "self.keep_promises(block, [unit, unit + units - 1]);",
        replace: "",
        why: "a reserved range is allocated when the range beside it has gone",
        caught_by: &[
            iova("edges::what_is_reserved_beside_a_range_stays_so_when_the_range_goes"),
            iova("blocks::random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits"),
        ],
    },
    Mutation {
        name: "promise-lost-where-a-block-was",
        selection: Selection::Whole,
        file: "dmamap/src/iova/block.rs",
        find: "self.0[unit] & !Self::IS_BLOCK | Self::IS_PROMISED;",
        replace: "self.0[unit] | Self::IS_PROMISED;",
        why: "a reserved range is allocated when the range beside it has gone",
        caught_by: &[iova(
            "edges::what_is_reserved_beside_a_range_stays_so_where_a_block_was",
        )],
    },
    Mutation {
        name: "refused-a-block-asks-for-another",
        selection: Selection::Whole,
        file: "dmamap/src/iova/divided.rs",
        find: "*growth = Growth::Refused;",
        replace: "*growth = Growth::Possible;",
        why: "where frames are short each request asks for one more that it cannot have",
        caught_by: &[iova("blocks::who_is_refused_a_block_asks_for_no_other")],
    },
    Mutation {
        name: "untrusted-device-without-unit",
        selection: Selection::Whole,
        file: ATTACH,
        find: "if trust == Trust::Withheld && !revocable {",
        replace: "if trust == Trust::Withheld && !revocable && false {",
        why: "safe code gives a device that nobody vouched for the way to all memory",
        caught_by: &[untranslated(
            "a_device_that_cannot_be_confined_must_be_vouched_for",
        )],
    },
    Mutation {
        name: "detached-device-stays-bus-master",
        selection: Selection::Whole,
        file: "dmamap/src/system/membership.rs",
        find: "core.function.disable_bus_master();",
        replace: "",
        why: "a device nobody drives any more goes on with its requests",
        caught_by: &[Test::program(
            "dmamap",
            "system/bus_master",
            "a_device_is_a_bus_master_while_it_is_attached",
        )],
    },
    Mutation {
        name: "shared-frames-given-as-they-are",
        selection: Selection::Core,
        file: AS_IT_IS,
        find: "frames == Frames::Whole && ",
        replace: "",
        why: "a device that nobody vouched for reaches what lies beside its memory",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/neighbours",
            "small_blocks_side_by_side_never_show_each_other",
        )],
    },
    Mutation {
        name: "given-as-it-is-though-copies-are-due",
        selection: Selection::Whole,
        file: AS_IT_IS,
        find: "self.bounce.may_be_for_own(len_bytes) || asks_for_copies(terms)",
        replace: "false",
        why: "a device that is to have copies alone is given the driver's pages",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/always_mapped",
            "no_page_of_a_driver_is_ever_mapped",
        )],
    },
    Mutation {
        name: "given-as-it-is-though-short",
        selection: Selection::Whole,
        file: AS_IT_IS,
        find: "self.bounce.may_be_for_own(len_bytes) || ",
        replace: "",
        why: "what settings have copied is mapped, and each unmap waits for the unit",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/short",
            "what_is_short_is_copied_and_tells_the_unit_nothing",
        )],
    },
    Mutation {
        name: "given-as-it-is-in-its-sleep",
        selection: Selection::Whole,
        file: AS_IT_IS,
        find: "match self.system.is_asleep() {",
        replace: "match false {",
        why: "what is mapped while the machine sleeps is not restored",
        caught_by: &[Test::program(
            "dmamap",
            "life/sleep",
            "while_it_sleeps_nothing_is_promised_that_nobody_can_keep",
        )],
    },
    Mutation {
        name: "given-as-it-is-and-not-cleaned",
        selection: Selection::Whole,
        file: AS_IT_IS,
        find: "self.clean_frames(memory);",
        replace: "",
        why: "a device that does not snoop reads what memory held before",
        caught_by: &[Test::program(
            "journeys",
            "caches",
            "mixed::maintenance_is_what_the_direction_needs_and_is_counted",
        )],
    },
    Mutation {
        name: "tail-of-a-page-not-mapped",
        selection: Selection::Whole,
        file: "dmamap/src/map/translated.rs",
        find: ".and_then(|bytes| bytes.checked_add(in_page))",
        replace: ".filter(|&bytes| bytes > 0)",
        why: "the last bytes of memory that is no whole pages are out of the device's reach, or another mapping's",
        caught_by: &[Test::library(
            "dmamap",
            "map::translated::tests::whole_pages_are_those_that_a_piece_touches",
        )],
    },
    Mutation {
        name: "small-memory-whatever-the-driver-asked",
        selection: Selection::Whole,
        file: "dmamap/src/map/translated.rs",
        find: " || limits.concern_small_memory()",
        replace: "",
        why: "bus addresses do not keep the bits, or cross the boundary, that the driver asked for",
        caught_by: &[Test::library(
            "dmamap",
            "map::translated::tests::small_memory_is_asked_for_as_any_other_is",
        )],
    },
    Mutation {
        name: "plain-memory-mapped-while-asleep",
        selection: Selection::Whole,
        file: "dmamap/src/map/plain.rs",
        find: "if end > MOST_BYTES || self.system.is_asleep() {",
        replace: "if end > MOST_BYTES {",
        why: "mappings are made that nothing knows of when the system wakes",
        caught_by: &[Test::program(
            "dmamap",
            "life",
            "sleep::while_it_sleeps_nothing_is_promised_that_nobody_can_keep",
        )],
    },
    Mutation {
        name: "list-taken-back-as-if-it-had-no-copies",
        selection: Selection::Whole,
        file: "dmamap/src/map/live_list.rs",
        find: "false => unsafe { core.take_back_plain(range, attributes) }, true => Taken::Not",
        replace: "true | false => unsafe { core.take_back_plain(range, attributes) }",
        why: "the driver never gets what the device wrote to the copies of a list",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/lists",
            "memory_that_shares_its_frame_is_copied_in_a_list",
        )],
    },
    Mutation {
        name: "few-frames-begin-with-the-first-byte",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/few.rs",
        find: "if pieces == 0 { head = before; }",
        replace: "",
        why: "the device is told of bytes before the memory",
        caught_by: &[few(
            "pagetable::few::tests::each_piece_has_the_frames_that_it_touches",
        )],
    },
    Mutation {
        name: "piece-of-nothing-among-a-few",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/few.rs",
        find: "len_bytes.wrapping_sub(1) < MOST_BYTES",
        replace: "len_bytes <= MOST_BYTES",
        why: "lists are mapped that are to be refused, and their pieces are taken for a page each",
        caught_by: &[few(
            "pagetable::few::tests::what_is_not_a_few_is_left_to_others",
        )],
    },
    Mutation {
        name: "few-frames-whatever-entries-hold",
        selection: Selection::Core,
        file: "dmamap/src/pagetable/page_words.rs",
        find: " && few.last() <= self.last_phys",
        replace: "",
        why: "a device reaches other memory than what it was given, as entries have no bits for that",
        caught_by: &[Test::library(
            "dmamap",
            "pagetable::page_words::tests::frames_are_accepted_as_far_as_entries_lead",
        )],
    },
    Mutation {
        name: "pieces-taken-for-a-page-each",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/at_hand.rs",
        find: "match few.runs().len() == entries.len() {",
        replace: "match !entries.is_empty() {",
        why: "a device reaches nothing, or what is left of others, behind the first page of a piece",
        caught_by: &[short_ways("what_short_ways_map_is_what_was_asked_for")],
    },
    Mutation {
        name: "runs-not-told-to-who-remembers",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/at_hand.rs",
        find: "if self.tells_of_maps() { return None; } let count",
        replace: "let count",
        why: "a unit goes on remembering that nothing is there",
        caught_by: &[remembered(
            "that_nothing_was_there_is_forgotten_when_a_run_or_a_list_is_mapped",
        )],
    },
    Mutation {
        name: "lists-not-told-to-who-remembers",
        selection: Selection::Core,
        file: "dmamap/src/iommu/domain/at_hand.rs",
        find: "if self.tells_of_maps() || !all.pages.accepts_few(few) {",
        replace: "if !all.pages.accepts_few(few) {",
        why: "a unit goes on remembering that nothing is there",
        caught_by: &[remembered(
            "that_nothing_was_there_is_forgotten_when_a_run_or_a_list_is_mapped",
        )],
    },
    Mutation {
        name: "plain-memory-keeps-to-no-boundary",
        selection: Selection::Whole,
        file: "dmamap/src/device/limits.rs",
        find: "self.pages_end.store(0, Ordering::SeqCst);",
        replace: "",
        why: "pages are mapped where the driver's limits were not asked for",
        caught_by: &[Test::library(
            "dmamap",
            "device::limits::tests::pages_end_where_the_mask_and_the_bus_do_until_more_is_asked",
        )],
    },
    Mutation {
        name: "copies-taken-back-as-if-there-were-none",
        selection: Selection::Whole,
        file: "dmamap/src/map/live/ending.rs",
        find: "true => unsafe { core.take_back_plain(self.range, self.attributes) }, false => Taken::Not",
        replace: "true | false => unsafe { core.take_back_plain(self.range, self.attributes) }",
        why: "the driver never gets what the device wrote, and the copy is never used again",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/always_mapped",
            "what_was_there_before_is_gone_and_what_comes_after_is_not_the_drivers",
        )],
    },
    Mutation {
        name: "note-outlives-its-mapping",
        selection: Selection::Whole,
        file: "dmamap/src/map/live/ending.rs",
        find: "Some(note) => self.held.core().earlier.take(note),",
        replace: "Some(note) => self.held.core().earlier.get(note),",
        why: "each time memory is lent again a little of the machine's is lost",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/allocation_failures",
            "what_cannot_be_noted_is_not_lent_again_and_comes_back",
        )],
    },
];

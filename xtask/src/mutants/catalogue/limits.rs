//! What a device can take: masks, segments, lists, and addresses that are chosen before memory is.

use super::super::mutation::{Mutation, Selection, Test};

const SPAN: &str = "dmamap/src/map/iova_span/reserved.rs";

const fn masks(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/masks", name)
}

const fn errors(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/errors", name)
}

const fn placement(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/placement", name)
}

const fn lists(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/lists", name)
}

const fn misuse(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/misuse", name)
}

const fn two_step(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/two_step", name)
}

const fn attributes(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/attributes", name)
}

const fn privileged(name: &'static str) -> Test {
    Test::program("dmamap", "smmu/privileged", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "mask-blamed-for-the-path",
        selection: Selection::Whole,
        file: "dmamap/src/map/establish.rs",
        find: "if mask.last() == limit && limit < DmaMask::ALL.last() =>",
        replace: "if mask.last() == limit && limit > DmaMask::ALL.last() =>",
        why: "a driver is told to widen a mask that decides nothing",
        caught_by: &[errors("where_the_path_is_the_limit_that_is_what_is_blamed")],
    },
    Mutation {
        name: "coherent-error-without-a-limit",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/mod.rs",
        find: "{device}, {len_bytes:#x} bytes at or below bus {last}: {failure}",
        replace: "{device}, {len_bytes:#x} bytes: {failure}",
        why: "who reads that memory is short is not told that a mask made it so",
        caught_by: &[errors(
            "memory_that_cannot_be_allocated_says_for_which_device_and_how_much",
        )],
    },
    Mutation {
        name: "pool-not-counted-in-the-largest-mapping",
        selection: Selection::Whole,
        file: "dmamap/src/device/sizes.rs",
        find: "Some(longest) => addresses.min(longest),",
        replace: "Some(longest) => addresses.max(longest),",
        why: "a driver makes requests that its pool can never serve",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/pools",
            "a_device_is_told_what_its_pool_lends_at_once",
        )],
    },
    Mutation {
        name: "limit-of-the-path-ignored",
        selection: Selection::Whole,
        file: "dmamap/src/addr.rs",
        find: "false => Self(last.as_u64())",
        replace: "false => self",
        why: "the root complex cuts addresses off, and the device reaches other memory",
        caught_by: &[masks("a_narrow_path_holds_whatever_the_mask_says")],
    },
    Mutation {
        name: "boundary-forgotten-when-addresses-are-chosen",
        selection: Selection::Whole,
        file: "dmamap/src/iova/search.rs",
        find: "0..u64::BITS => 1 << (request.boundary_log2() - granule_log2),",
        replace: "0..u64::BITS => LIMITLESS,",
        why: "the device wraps around at the boundary, into what is not the mapping's",
        caught_by: &[
            placement("random_limits_are_kept_or_the_mapping_is_refused"),
            Test::program(
                "dmamap",
                "iova",
                "random_use_agrees_with_a_page_by_page_oracle",
            ),
        ],
    },
    Mutation {
        name: "minimum-alignment-forgotten",
        selection: Selection::Whole,
        file: "dmamap/src/map/terms.rs",
        find: "self.min_align_mask = limits.min_align_mask();",
        replace: "self.min_align_mask = 0;",
        why: "the device takes the offset in its page from an address that lost it",
        caught_by: &[placement(
            "the_offset_in_a_large_page_survives_where_it_is_asked_for",
        )],
    },
    Mutation {
        name: "segments-across-the-boundary",
        selection: Selection::Whole,
        file: "dmamap/src/map/segments.rs",
        find: "let limit = max_bytes.min(to_boundary);",
        replace: "let _ = to_boundary;
        let limit = max_bytes;",
        why: "the device cannot take such a segment",
        caught_by: &[lists(
            "random_lists_are_told_byte_for_byte_within_the_devices_limits",
        )],
    },
    Mutation {
        name: "pieces-of-a-list-told-without-the-ends-of-their-pages",
        selection: Selection::Core,
        file: "dmamap/src/map/runs.rs",
        find: "frames += (head + piece.len_bytes()).next_multiple_of(FRAME_BYTES);",
        replace: "frames += piece.len_bytes();",
        why: "the device is told of addresses that lead elsewhere",
        caught_by: &[lists(
            "random_lists_are_told_byte_for_byte_within_the_devices_limits",
        )],
    },
    Mutation {
        name: "dropped-list-not-revoked",
        selection: Selection::Core,
        file: "dmamap/src/map/live_list.rs",
        find: "unsafe { revoke(core, &core.route, range, copies, attributes, None) }",
        replace: "{ let _ = (attributes, copies); Ok::<(), crate::iommu::RevokeError>(()) }",
        why: "the memory is given back while the device still reaches it",
        caught_by: &[lists(
            "random_lists_are_told_byte_for_byte_within_the_devices_limits",
        )],
    },
    Mutation {
        name: "part-of-a-mapping-unmapped",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain/lanes.rs",
        find: "if granules != range.len_bytes() >> page_log2 {",
        replace: "if granules == u64::MAX {",
        why: "a mapping is split, and its addresses can never be given back",
        caught_by: &[misuse("part_of_a_mapping_or_more_than_one_is_not_unmapped")],
    },
    Mutation {
        name: "links-not-made-visible",
        selection: Selection::Whole,
        file: SPAN,
        find: "self.domain()
            .make_visible(self.pages_of(range), self.how)
            .map_err(DomainError::from)?;",
        replace: "let _ = range;",
        why: "a unit that remembers that there was nothing, or is told by requests, refuses the device",
        caught_by: &[two_step(
            "what_is_linked_and_synced_is_reached_at_consecutive_addresses_behind_every_unit",
        )],
    },
    Mutation {
        name: "inner-edges-not-checked",
        selection: Selection::Whole,
        file: SPAN,
        find: "if inside || !congruent {",
        replace: "if false && (inside || !congruent) {",
        why: "a link ends up at other addresses than its driver counts on",
        caught_by: &[two_step(
            "only_the_first_link_begins_and_only_the_last_ends_inside_a_page",
        )],
    },
    Mutation {
        name: "span-freed-while-linked",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw.rs",
        find: "match self.linked_bytes {
            0 => {",
        replace: "match 0 {
            0 => {",
        why: "other mappings get addresses at which the device still reaches this memory",
        caught_by: &[two_step(
            "raw_links_are_whole_pages_but_for_the_ends_and_all_unlinked_before_it_is_freed",
        )],
    },
    Mutation {
        name: "coherence-not-required",
        selection: Selection::Whole,
        file: "dmamap/src/map/terms.rs",
        find: "(Need::Coherent, Coherence::NotSnooped) => Err(MapFailure::NotCoherent),",
        replace: "",
        why: "both sides write what the other does not see",
        caught_by: &[attributes(
            "what_must_be_coherent_is_refused_on_a_device_that_does_not_snoop",
        )],
    },
    Mutation {
        name: "privilege-of-a-mapping-forgotten",
        selection: Selection::Core,
        file: "dmamap/src/map/terms.rs",
        find: "privilege: self.attributes.privilege,",
        replace: "",
        why: "whoever makes the device's unprivileged requests reaches what is for its firmware alone",
        caught_by: &[privileged(
            "an_unprivileged_device_reaches_nothing_that_is_mapped_for_privileged_requests",
        )],
    },
    Mutation {
        name: "privileged-copies-in-open-pools",
        selection: Selection::Whole,
        file: "dmamap/src/map/pooled.rs",
        find: "if closed {",
        replace: "if closed && !closed {",
        why: "copies of what is for privileged requests lie where all requests reach them",
        caught_by: &[privileged(
            "an_unprivileged_device_reaches_nothing_that_is_mapped_for_privileged_requests",
        )],
    },
    Mutation {
        name: "users-shut-out-of-every-mapping",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/map.rs",
        find: "Privilege::Any => leaf,",
        replace: "Privilege::Any => self.format.for_privileged(leaf),",
        why: "ordinary requests of every device fault",
        caught_by: &[privileged(
            "an_unprivileged_device_reaches_nothing_that_is_mapped_for_privileged_requests",
        )],
    },
];

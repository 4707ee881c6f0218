//! What is found out before anything is mapped: whose memory it is, what the device reaches, how long a part may be.

use super::super::mutation::{Mutation, Selection, Test};

const RAW: &str = "dmamap/src/map/raw/single.rs";
const LIMITS: &str = "dmamap/src/device/limits.rs";

const fn raw(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/raw", name)
}

const fn masks(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/masks", name)
}

const fn sizes(name: &'static str) -> Test {
    Test::program("dmamap", "streaming/limits", name)
}

const fn sync(name: &'static str) -> Test {
    Test::program("dmamap", "mapping/sync", name)
}

const fn pagetable(name: &'static str) -> Test {
    Test::program("dmamap", "pagetable", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "virtual-address-taken-for-a-physical-one",
        selection: Selection::Whole,
        file: RAW,
        find: ".ok_or(MapFailure::NotDmaMemory { virt })",
        replace: ".map_or(Ok::<_, MapFailure>(PhysAddr::new(virt.as_u64())), Ok)",
        why: "what a stack or an image has for an address is an address of other memory for the device",
        caught_by: &[raw("stacks_heaps_and_images_are_not_memory_for_devices")],
    },
    Mutation {
        name: "contiguity-unchecked",
        selection: Selection::Whole,
        file: RAW,
        find: "if Some(phys(virt)?) != start.checked_add(offset) {",
        replace: "if Some(phys(virt)?) != start.checked_add(offset) && offset == 0 {",
        why: "behind the first page the device reaches whatever follows it in memory",
        caught_by: &[raw("vmalloc_memory_is_mapped_page_by_page_only")],
    },
    Mutation {
        name: "contiguity-of-a-buffer-unchecked",
        selection: Selection::Whole,
        file: "dmamap/src/map/establish.rs",
        find: "match in_one_piece && first.len_bytes() != buffer.len_bytes() {",
        replace: "match in_one_piece && first.len_bytes() > buffer.len_bytes() {",
        why: "without an IOMMU the device reaches whatever follows the first piece in memory",
        caught_by: &[Test::program(
            "dmamap",
            "mapping/direct",
            "a_list_with_one_piece_out_of_reach_is_not_mapped_in_place",
        )],
    },
    Mutation {
        name: "owner-of-memory-unchecked",
        selection: Selection::Whole,
        file: "dmamap/src/map/establish.rs",
        find: "Some(phys) if phys == first.start() => Ok(()),",
        replace: "Some(_) | None if first.len_bytes() > 0 => Ok(()),",
        why: "an address of another machine's memory is mapped, and the device reaches other memory",
        caught_by: &[Test::program(
            "dmamap",
            "system/one_machine",
            "memory_of_another_machine_is_not_mapped",
        )],
    },
    Mutation {
        name: "no-mask-taken-for-every-address",
        selection: Selection::Whole,
        file: "dmamap/src/addr.rs",
        find: "pub const DEFAULT: Self = Self(u32::MAX as u64);",
        replace: "pub const DEFAULT: Self = Self(u64::MAX);",
        why: "a device of 32 bits whose driver said nothing reaches other memory",
        caught_by: &[masks("before_a_mask_is_set_thirty_two_bits_hold")],
    },
    Mutation {
        name: "mask-wider-than-the-path-refused",
        selection: Selection::Whole,
        file: "dmamap/src/device/mask.rs",
        find: "let last = mask.narrowed_to(limit).last();",
        replace: "let last = mask.last();
        if last > self.bus_limit() {
            return Err(MaskError::NoRoom { device, mask });
        }",
        why: "a driver whose device takes all addresses gives up",
        caught_by: &[masks("sixty_four_bits_never_fail_and_the_last_mask_holds")],
    },
    Mutation {
        name: "masks-only-narrow",
        selection: Selection::Whole,
        file: LIMITS,
        find: "self.mask_last.store(mask.last().as_u64(), Ordering::SeqCst);",
        replace: "self.mask_last.fetch_min(mask.last().as_u64(), Ordering::SeqCst);",
        why: "a mask that was tried before holds for ever",
        caught_by: &[masks("sixty_four_bits_never_fail_and_the_last_mask_holds")],
    },
    Mutation {
        name: "one-mask-for-all-memory",
        selection: Selection::Whole,
        file: LIMITS,
        find: "self.coherent_mask_last.load(Ordering::Relaxed)",
        replace: "self.mask_last.load(Ordering::Relaxed)",
        why: "rings lie where the device reaches data and no rings",
        caught_by: &[
            masks("sixty_four_bits_never_fail_and_the_last_mask_holds"),
            Test::program(
                "dmamap",
                "system/reserved",
                "streaming_and_coherent_memory_keep_to_their_own_masks",
            ),
        ],
    },
    Mutation {
        name: "limits-of-no-device-accepted",
        selection: Selection::Whole,
        file: "dmamap/src/device/segment_limits.rs",
        find: "if mask & mask.wrapping_add(1) != 0 {",
        replace: "if mask == 1 << 63 {",
        why: "a mask with holes keeps other bits than the driver counts on",
        caught_by: &[sizes(
            "limits_that_no_device_can_have_are_refused_and_change_nothing",
        )],
    },
    Mutation {
        name: "page-0-counted-among-the-addresses",
        selection: Selection::Whole,
        file: "dmamap/src/device/sizes.rs",
        find: "pages.saturating_sub(1) * page_bytes",
        replace: "pages * page_bytes",
        why: "a driver is told of a size that no mapping can have",
        caught_by: &[sizes("sizes_tell_what_serves_the_device")],
    },
    Mutation {
        name: "view-beyond-its-memory",
        selection: Selection::Whole,
        file: "dmamap/src/map/view.rs",
        find: "OutOfBounds::check(live.device(), offset, len_bytes, buffer.len_bytes())?;",
        replace: "OutOfBounds::check(live.device(), offset, len_bytes, buffer.len_bytes() + 1)?;",
        why: "a driver reads and writes what lies behind its buffer",
        caught_by: &[sync("a_partial_view_reaches_its_part_and_nothing_else")],
    },
    Mutation {
        name: "view-beyond-its-part",
        selection: Selection::Whole,
        file: "dmamap/src/map/view.rs",
        find: "OutOfBounds::check(self.live.device(), offset, bytes.len() as u64, self.len_bytes)?;",
        replace: "OutOfBounds::check(self.live.device(), offset, bytes.len() as u64, self.len_bytes + 1)?;",
        why: "what is written behind the part that was synced never reaches the device, or is overwritten by it",
        caught_by: &[sync("a_partial_view_reaches_its_part_and_nothing_else")],
    },
    Mutation {
        name: "raw-sync-beyond-its-mapping",
        selection: Selection::Whole,
        file: "dmamap/src/map/raw/sync.rs",
        find: "Outside::check(offset, len_bytes, mapping.len_bytes())",
        replace: "Outside::check(offset, len_bytes, mapping.len_bytes() + 1)",
        why: "lines of others' memory are invalidated, with what they wrote there",
        caught_by: &[Test::program(
            "dmamap",
            "streaming/misuse",
            "raw_syncs_stay_inside_what_is_mapped",
        )],
    },
    Mutation {
        name: "pool-alignment-of-any-number",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/layout.rs",
        find: "if !align_bytes.is_power_of_two() {",
        replace: "if align_bytes == 0 {",
        why: "no block has the alignment that its device masks addresses with",
        caught_by: &[Test::program(
            "dmamap",
            "coherent/pool",
            "blocks_that_cannot_be_are_refused",
        )],
    },
    Mutation {
        name: "leaf-larger-than-memory-is-aligned",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/map.rs",
        find: "(bus | phys).trailing_zeros() >= size_log2",
        replace: "bus.trailing_zeros() >= size_log2",
        why: "the unit drops the lower bits of the memory's address, and the device reaches other memory",
        caught_by: &[pagetable(
            "vtd_second_stage::the_largest_leaf_is_used_at_every_alignment",
        )],
    },
    Mutation {
        name: "leaves-of-one-size",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/map.rs",
        find: "let level = (2..=stop.level).rev().find(fits).unwrap_or(1);",
        replace: "let level = (2..=stop.level).rev().find(fits).filter(|&level| level == 0).unwrap_or(1);",
        why: "large memory takes a table entry, and a line of the IOTLB, for each of its pages",
        caught_by: &[pagetable(
            "vtd_second_stage::the_largest_leaf_is_used_at_every_alignment",
        )],
    },
    Mutation {
        name: "addresses-in-the-other-order",
        selection: Selection::Whole,
        file: "dmamap/src/map/translated.rs",
        find: "domain.address_order() == AddressOrder::HighFirst",
        replace: "domain.address_order() != AddressOrder::HighFirst",
        why: "devices that break at long addresses are given them first",
        caught_by: &[Test::program(
            "dmamap",
            "deferred/addresses",
            "addresses_of_32_bits_come_first_unless_the_settings_say_otherwise",
        )],
    },
    Mutation {
        name: "translation-without-its-offset",
        selection: Selection::Whole,
        file: "dmamap/src/pagetable/visit.rs",
        find: "phys: PhysAddr::new(phys.as_u64() + offset),",
        replace: "phys: PhysAddr::new(phys.as_u64() + (offset & !0xfff)),",
        why: "who looks a fault up is told of other memory",
        caught_by: &[sync("addresses_are_translated_back_to_the_byte")],
    },
];

//! Copies: what a device sees of them, and what comes back.

use super::super::mutation::{Mutation, Selection, Test};

const fn spans(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/spans", name)
}

const fn unlinks(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/unlinks", name)
}

const fn classes(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/classes", name)
}

const fn lists(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/lists", name)
}

const fn direct_route(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/direct_route", name)
}

const fn always_mapped(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/always_mapped", name)
}

const fn short(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/short", name)
}

const fn neighbours(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/neighbours", name)
}

const fn overlaps(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/overlaps", name)
}

const fn kept(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/kept", name)
}

const fn pools(name: &'static str) -> Test {
    Test::program("dmamap", "bounce/pools", name)
}

const fn device_memory(name: &'static str) -> Test {
    Test::program("dmamap", "system/device_memory", name)
}

const fn matrix(name: &'static str) -> Test {
    Test::program("journeys", "matrix", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "bounce-padding-not-zeroed",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/run.rs",
        find: "zero(bytes.add(self.purpose.len_bytes as usize), tail);",
        replace: "let _ = tail;",
        why: "the device sees what an earlier mapping left behind the bytes it was given",
        caught_by: &[classes("every_class_is_copied_right_on_the_direct_route")],
    },
    Mutation {
        name: "bounce-head-not-zeroed",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/run.rs",
        find: "zero(platform.frame_pointer(self.memory.start()), head);",
        replace: "let _ = head;",
        why: "the device sees what an earlier mapping left before the bytes it was given",
        caught_by: &[classes("every_class_is_copied_right_on_the_direct_route")],
    },
    Mutation {
        name: "bounce-to-device-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/at_once.rs",
        find: "if direction.device_writes() { unsafe { bounce::copy_across",
        replace: "if len_bytes > 0 { unsafe { bounce::copy_across",
        why: "a device changes memory that it was only to read",
        caught_by: &[direct_route("memory_beyond_the_mask_goes_by_way_of_a_copy")],
    },
    Mutation {
        name: "bounce-raw-to-device-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/raw/copies.rs",
        find: "Way::ToMemory if run.direction() != AnyDirection::ToDevice => {",
        replace: "Way::ToMemory if run.len_bytes() > 0 => {",
        why: "a device changes memory that it was only to read",
        caught_by: &[classes("every_class_is_copied_right_on_the_direct_route")],
    },
    Mutation {
        name: "bounce-list-not-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/list_syncs.rs",
        find: "unsafe { run.copy_out(self.core.platform, within, start, count) };",
        replace: "let _ = (run, within, start, count);",
        why: "the driver never gets what the device wrote to a list",
        caught_by: &[lists(
            "a_list_of_buffers_is_copied_piece_by_piece_both_ways",
        )],
    },
    Mutation {
        name: "bounce-raw-pieces-from-the-start",
        selection: Selection::Whole,
        file: "dmamap/src/map/raw/copies.rs",
        find: "copy(platform, run, within + done, part, way)",
        replace: "copy(platform, run, within + done - done, part, way)",
        why: "each piece of a list gets what the first one should have",
        caught_by: &[lists(
            "a_raw_list_is_copied_piece_by_piece_both_ways_beyond_the_mask",
        )],
    },
    Mutation {
        name: "bounce-not-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/at_once.rs",
        find: "bounce::copy_across(copy, buffer, len_bytes as usize)",
        replace: "_ = (copy, buffer, bounce::copy_across)",
        why: "the driver never gets what the device wrote",
        caught_by: &[direct_route("memory_beyond_the_mask_goes_by_way_of_a_copy")],
    },
    Mutation {
        name: "bounce-pool-not-wiped",
        selection: Selection::Whole,
        file: "dmamap/src/map/at_once.rs",
        find: "bounce::zero(copy, len_bytes as usize)",
        replace: "_ = (copy, bounce::zero)",
        why: "the device goes on reading what was unmapped",
        caught_by: &[always_mapped(
            "what_was_there_before_is_gone_and_what_comes_after_is_not_the_drivers",
        )],
    },
    Mutation {
        name: "short-mappings-wait-for-the-unit",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/service.rs",
        find: "own.filter(|_| len_bytes < self.own_below_bytes)",
        replace: "own.filter(|_| self.own_below_bytes == 0 && len_bytes == 0)",
        why: "what is to be copied as it is short is mapped and invalidated",
        caught_by: &[short("what_is_short_is_copied_and_tells_the_unit_nothing")],
    },
    Mutation {
        name: "long-mappings-copied-too",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/service.rs",
        find: "own.filter(|_| len_bytes < self.own_below_bytes)",
        replace: "own.filter(|_| len_bytes <= self.own_below_bytes)",
        why: "the setting says fewer bytes",
        caught_by: &[short("what_is_not_short_is_in_place_and_lost_at_its_unmap")],
    },
    Mutation {
        name: "short-mappings-fail-without-slots",
        selection: Selection::Whole,
        file: "dmamap/src/map/pooled.rs",
        find: "let run = pool.lend_slots(&request, &self.always_mapped(domain, terms))?;",
        replace: "let run = pool.allocate(&request, &self.always_mapped(domain, terms)).ok()?;",
        why: "what costs less becomes dearer than mapping: memory of its own, mapped for the copy",
        caught_by: &[short(
            "where_a_copy_is_not_to_be_or_there_are_no_slots_the_memory_is_mapped",
        )],
    },
    Mutation {
        name: "deferred-devices-copy-too",
        selection: Selection::Whole,
        file: "dmamap/src/system/attach.rs",
        find: "Protection::Blocked | Protection::Identity | Protection::Deferred => 0",
        replace: "_ => state.bounce.copy_below_bytes",
        why: "devices whose unmaps wait for nothing pay for copies",
        caught_by: &[short(
            "only_strictly_protected_devices_that_attach_later_copy_what_is_short",
        )],
    },
    Mutation {
        name: "bounce-copy-not-made",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/copying.rs",
        find: "unsafe { from.copy_to_nonoverlapping(to, len) };",
        replace: "unsafe { from.copy_to_nonoverlapping(to, len / 2) };",
        why: "the device reads half of what it was given",
        caught_by: &[short("what_is_short_is_copied_and_tells_the_unit_nothing")],
    },
    Mutation {
        name: "bounce-new-area-shows-what-was-there",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/own.rs",
        find: "unsafe { zero(start, frames.len_bytes() as usize) };",
        replace: "let _ = start;",
        why: "the device reads what others left in memory that is mapped for it",
        caught_by: &[always_mapped(
            "new_memory_of_a_pool_holds_nothing_of_others",
        )],
    },
    Mutation {
        name: "bounce-new-area-stays-in-the-caches",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/own.rs",
        find: "self.core.clean_for_device(frames);",
        replace: "",
        why: "a device that does not snoop reads what others left in memory, beneath the zeros in the caches",
        caught_by: &[always_mapped(
            "new_memory_of_a_pool_holds_nothing_of_others_beneath_the_caches",
        )],
    },
    Mutation {
        name: "bounce-copy-stays-in-the-caches",
        selection: Selection::Whole,
        file: "dmamap/src/map/place.rs",
        find: "self.clean_for_device(run.memory());",
        replace: "",
        why: "a device that does not snoop reads what memory held before the copy was made",
        caught_by: &[matrix("every_journey_is_made")],
    },
    Mutation {
        name: "bounce-wipe-stays-in-the-caches",
        selection: Selection::Whole,
        file: "dmamap/src/map/backing.rs",
        find: "core.clean_for_device(run.memory());",
        replace: "",
        why: "a device that does not snoop goes on reading what was unmapped",
        caught_by: &[matrix("random_steps_agree_with_the_oracle")],
    },
    Mutation {
        name: "bounce-neighbours-mapped",
        selection: Selection::Whole,
        file: "dmamap/src/map/given.rs",
        find: "self.guard.trust() == Trust::Withheld || self.shares_lines(terms, memory)",
        replace: "self.guard.trust() == Trust::Withheld && self.shares_lines(terms, memory)",
        why: "a device that nobody vouched for reaches whatever shares a page with a buffer",
        caught_by: &[
            neighbours("small_blocks_side_by_side_never_show_each_other"),
            classes("every_class_is_cut_right_for_a_device_nobody_vouched_for"),
            spans("every_class_of_raw_link_is_cut_right_for_a_device_nobody_vouched_for"),
            spans("blocks_that_share_a_frame_are_linked_and_never_show_each_other"),
        ],
    },
    Mutation {
        name: "links-given-as-they-are",
        selection: Selection::Core,
        file: "dmamap/src/map/iova_span/reserved.rs",
        find: "unsafe { core.give(page_log2, &self.terms, memory) }?",
        replace: "Backing::InPlace",
        why: "a device that nobody vouched for reaches whatever shares a page with a link",
        caught_by: &[
            spans("every_class_of_raw_link_is_cut_right_for_a_device_nobody_vouched_for"),
            spans("both_ends_of_a_span_are_copied_and_what_lies_between_is_in_place"),
        ],
    },
    Mutation {
        name: "last-bytes-of-a-span-not-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/backing.rs",
        find: "later_tail.or(tail)",
        replace: "tail.or(later_tail.filter(|run| run.len_bytes() == 0))",
        why: "what the device wrote to the end of the last link is lost, and its copy with it",
        caught_by: &[spans(
            "both_ends_of_a_span_are_copied_and_what_lies_between_is_in_place",
        )],
    },
    Mutation {
        name: "raw-links-not-copied-back",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw/unlink.rs",
        find: "core.copy_where_they_are_from(&backing, len_bytes, 0, len_bytes, Way::ToMemory);",
        replace: "core.copy_where_they_are_from(&backing, len_bytes, 0, 0, Way::ToMemory);",
        why: "what the device wrote to the ends of a link is lost",
        caught_by: &[spans(
            "every_class_of_raw_link_is_cut_right_for_a_device_nobody_vouched_for",
        )],
    },
    Mutation {
        name: "links-copied-as-one-piece-of-memory",
        selection: Selection::Whole,
        file: "dmamap/src/map/raw/sync.rs",
        find: "unsafe {
            self.core()
                .copy_where_they_are_from(&backing, whole, offset, len_bytes, way);
        }",
        replace: "if let Some(memory) = self.piece_behind(mapping, &backing) {
            let _ = whole;
            unsafe { self.copy_pieces(&backing, &[memory], offset, len_bytes, way) };
        }",
        why: "the end of the last link is copied to memory that is not its own",
        caught_by: &[spans(
            "links_in_many_places_are_right_for_devices_that_snoop_and_that_do_not",
        )],
    },
    Mutation {
        name: "raw-unlink-invalidates-the-first-piece",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw/unlink.rs",
        find: "for memory in pieces.into_iter().flatten() {",
        replace: "for memory in pieces.into_iter().flatten().take(1) {",
        why: "of links that do not lie side by side in memory the CPU reads what it had before",
        caught_by: &[spans(
            "links_in_many_places_are_right_for_devices_that_snoop_and_that_do_not",
        )],
    },
    Mutation {
        name: "copies-of-links-not-invalidated",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw/unlink.rs",
        find: "core.invalidate_cache(run.pointer(core.platform), run.len_bytes());",
        replace: "core.invalidate_cache(run.pointer(core.platform), 0);",
        why: "what a device wrote before it was detached is copied back from outdated cache lines",
        caught_by: &[unlinks(
            "copies_of_links_come_back_when_their_device_is_gone",
        )],
    },
    Mutation {
        name: "copies-of-gone-links-lost",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw/unlink.rs",
        find: "} else if gone_bytes > 0 {",
        replace: "} else if gone_bytes > len_bytes {",
        why: "what the device wrote to the first bytes is lost with their copy when an unlink stops half-way",
        caught_by: &[unlinks(
            "what_is_gone_when_a_large_page_would_be_split_is_copied_back",
        )],
    },
    Mutation {
        name: "link-offsets-not-checked",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw.rs",
        find: "= self.reserved.range(offset, memory.len_bytes()) {",
        replace: "= self.reserved.range(0, memory.len_bytes()) {",
        why: "an offset near the end of all numbers makes the kernel panic",
        caught_by: &[Test::program(
            "dmamap",
            "streaming/two_step",
            "offsets_that_leave_a_raw_span_are_refused_however_large",
        )],
    },
    Mutation {
        name: "links-behind-one-that-ends-inside-a-page",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/raw.rs",
        find: "Some(last) if ends_inside || end > last =>",
        replace: "Some(last) if ends_inside && end > last && last == 0 =>",
        why: "there is a gap between links that a device told of one range runs into",
        caught_by: &[Test::program(
            "dmamap",
            "streaming/two_step",
            "raw_links_are_whole_pages_but_for_the_ends_and_all_unlinked_before_it_is_freed",
        )],
    },
    Mutation {
        name: "bounce-large-pages-in-place",
        selection: Selection::Whole,
        file: "dmamap/src/map/edges.rs",
        find: "if !shared && page_bytes == frame_bytes {",
        replace: "if !shared {",
        why: "a device reaches what shares a large page with a buffer of frames",
        caught_by: &[neighbours(
            "frames_in_larger_pages_do_not_show_the_rest_of_them",
        )],
    },
    Mutation {
        name: "bounce-offset-not-kept",
        selection: Selection::Whole,
        file: "dmamap/src/map/place.rs",
        find: "offset: memory.first.start().as_u64() & keep_mask,",
        replace: "offset: memory.first.start().as_u64() & keep_mask & !0x7ff,",
        why: "a device that counts on its buffers' alignment goes astray",
        caught_by: &[classes("every_class_is_copied_right_on_the_direct_route")],
    },
    Mutation {
        name: "bounce-buddy-of-another-size",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/record.rs",
        find: "self.tag() == Tag::new(Kind::Free, order, 0)",
        replace: "order < 32 && self.tag().kind() == Kind::Free",
        why: "a block is taken for free of which a part is lent",
        caught_by: &[overlaps("mappings_never_overlap_and_keep_their_data")],
    },
    Mutation {
        name: "kept-slots-forgotten-by-a-recall",
        selection: Selection::Core,
        file: "dmamap/src/bounce/ready.rs",
        find: "for slots in 1..=MOST {",
        replace: "for slots in 2..=MOST {",
        why: "slots that a CPU keeps ready are free to it alone, and their memory never goes back",
        caught_by: &[
            kept("what_other_cpus_keep_is_found_when_nothing_else_is_left"),
            kept("no_slot_is_lent_twice_whoever_gives_it_back"),
        ],
    },
    Mutation {
        name: "kept-slots-not-called-back",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/pool.rs",
        find: "let recalled = self.recall(|| any(home));",
        replace: "let recalled: Option<Option<Run>> = None; let _ = any(home);",
        why: "a mapping is refused while other CPUs keep slots that nobody uses",
        caught_by: &[kept(
            "what_other_cpus_keep_is_found_when_nothing_else_is_left",
        )],
    },
    Mutation {
        name: "kept-slots-lent-to-who-does-not-reach-them",
        selection: Selection::Core,
        file: "dmamap/src/map/at_once.rs",
        find: "(run_last <= mask.last().as_u64() && bus & keep_mask == 0).then_some(bus)",
        replace: "(run_last > 0 && bus & keep_mask == 0).then_some(bus)",
        why: "a device is told of an address that it cuts off",
        caught_by: &[kept(
            "what_is_kept_for_one_device_is_not_lent_to_one_that_does_not_reach_it",
        )],
    },
    Mutation {
        name: "kept-slots-lent-twice",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/magazine.rs",
        find: "self.heads[slots as usize - 1] = record.next();",
        replace: "let _ = record.next();",
        why: "two mappings have one copy",
        caught_by: &[kept("no_slot_is_lent_twice_whoever_gives_it_back")],
    },
    Mutation {
        name: "kept-slots-pile-up",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/ready.rs",
        find: "if self.tally.kept(cpu) + slots > most && !self.make_room(cpu, magazine, slots) {",
        replace: "if most == 0 && !self.make_room(cpu, magazine, slots) {",
        why: "where one CPU maps and another unmaps the pool grows to its limit",
        caught_by: &[kept("slots_that_always_come_back_elsewhere_do_not_pile_up")],
    },
    Mutation {
        name: "kept-slots-less-aligned",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/magazine.rs",
        find: "slots.wrapping_sub(1) < MOST && slot & (slots.next_power_of_two() - 1) == 0",
        replace: "slots.wrapping_sub(1) < MOST && slot < u32::MAX",
        why: "a device that counts on its buffers' alignment goes astray",
        caught_by: &[overlaps("mappings_never_overlap_and_keep_their_data")],
    },
    Mutation {
        name: "what-a-device-wrote-taken-for-zeros",
        selection: Selection::Core,
        file: "dmamap/src/map/at_once.rs",
        find: "let is_left_blank = was_only_read && len_bytes <= run_bytes / 2;",
        replace: "let is_left_blank = len_bytes <= run_bytes / 2; let _ = was_only_read;",
        why: "one device reads what another left beside its copy",
        caught_by: &[kept(
            "beside_a_copy_there_are_zeros_whatever_was_there_before",
        )],
    },
    Mutation {
        name: "copied-ends-decide-the-alignment",
        selection: Selection::Whole,
        file: "dmamap/src/map/backing.rs",
        find: "Self::InPlace | Self::Edges { .. } => first",
        replace: "Self::Edges { head: Some(run), .. } => run.bytes(),
            Self::InPlace | Self::Edges { .. } => first",
        why: "memory whose ends are copied has bus addresses less aligned than the device asked for",
        caught_by: &[classes("random_offsets_and_lengths_are_copied_right")],
    },
    Mutation {
        name: "bounce-limit-not-kept",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/growth.rs",
        find: "filter(|&all| all <= limit);",
        replace: "filter(|_| limit > 0);",
        why: "a pool grows without end",
        caught_by: &[pools(
            "a_pool_takes_nothing_before_it_is_needed_grows_and_gives_back",
        )],
    },
    Mutation {
        name: "bounce-coherent-is-copied",
        selection: Selection::Whole,
        file: "dmamap/src/map/place.rs",
        find: "Need::Coherent => Err(MapFailure::WouldBounce { memory })",
        replace: "Need::Coherent => Ok(())",
        why: "memory that both sides must see is copied instead",
        caught_by: &[direct_route(
            "where_coherent_memory_is_required_nothing_is_copied",
        )],
    },
    Mutation {
        name: "bounce-transient-lost",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/pool.rs",
        find: "unsafe { self.platform.free_frames(removed.memory) };",
        replace: "let _ = removed.memory;",
        why: "a mapping's own memory is never given back",
        caught_by: &[pools("what_is_longer_than_an_area_gets_memory_of_its_own")],
    },
    Mutation {
        name: "bounce-restricted-grows",
        selection: Selection::Whole,
        file: "dmamap/src/system/bounce.rs",
        find: "let pool = Box::leak(Box::new(pool));",
        replace: "drop(pool); let pool = Box::leak(Box::new(default_pool(self.platform)));",
        why: "a device that is restricted to some memory reaches other memory",
        caught_by: &[pools(
            "a_restricted_device_is_given_its_own_memory_and_no_other",
        )],
    },
    Mutation {
        name: "retired-memory-is-written-by-readers",
        selection: Selection::Whole,
        file: "dmamap/src/map/retired.rs",
        find: "live.see_device_writes(start, offset, len);",
        replace: "live.sync_for_cpu(start, offset, len);",
        why: "two threads that read it write the buffer at once",
        caught_by: &[direct_route(
            "those_who_read_retired_memory_at_once_do_not_write_it",
        )],
    },
    Mutation {
        name: "bounce-sync-from-the-start",
        selection: Selection::Whole,
        file: "dmamap/src/map/backing.rs",
        find: "Self::Whole { run, .. } => (Side::Copy(run, offset), whole - offset),",
        replace: "Self::Whole { run, .. } => (Side::Copy(run, 0), whole - offset),",
        why: "the CPU's turn at part of a mapping reads and writes another part of the copy",
        caught_by: &[direct_route(
            "the_cpus_turn_reads_and_writes_what_the_device_has",
        )],
    },
    Mutation {
        name: "bounce-high-water-falls",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/tally.rs",
        find: "if lent > self.high_water.load(Ordering::Relaxed) {",
        replace: "self.high_water.store(0, Ordering::Relaxed); {",
        why: "who sizes a pool by the most it ever lent makes it too small",
        caught_by: &[pools("the_most_that_was_lent_at_once_is_remembered")],
    },
    Mutation {
        name: "bounce-lines-shared-with-others",
        selection: Selection::Whole,
        file: "dmamap/src/map/place.rs",
        find: "let may_share = self.coherence == Coherence::NotSnooped",
        replace: "let may_share = self.coherence == Coherence::Snooped",
        why: "the CPU writes a line back over what the device wrote to its other half",
        caught_by: &[Test::program(
            "dmamap",
            "bounce/not_snooped",
            "a_block_that_shares_a_line_is_copied_where_the_device_writes",
        )],
    },
    Mutation {
        name: "bounce-every-area-asks-for-memory",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/pool.rs",
        find: "if let Growing::NoMemory | Growing::Lost(_) = growing {",
        replace: "if let Growing::Lost(_) = growing {",
        why: "where memory is short each map asks for it hundreds of times",
        caught_by: &[pools(
            "a_pool_that_is_given_no_memory_does_not_ask_for_each_of_its_areas",
        )],
    },
    Mutation {
        name: "bounce-lost-memory-not-counted",
        selection: Selection::Whole,
        file: "dmamap/src/bounce/growth.rs",
        find: "self.lost_bytes.fetch_add(1 << log2, Ordering::Relaxed);",
        replace: "self.bytes.fetch_sub(1 << log2, Ordering::Relaxed);",
        why: "a unit that confirms nothing costs the machine all its memory, unseen",
        caught_by: &[always_mapped(
            "new_memory_that_the_device_may_have_already_is_lost_once_and_counted",
        )],
    },
    Mutation {
        name: "packed-blocks-find-no-place-when-they-come-back",
        selection: Selection::Whole,
        file: "dmamap/src/buffer/packed.rs",
        find: "self.frames.capacity() >= frames && self.free.capacity() >= frames * blocks_each",
        replace: "self.frames.capacity() + self.free.capacity() + blocks_each >= frames",
        why: "the general allocator is called under a lock that interrupts are off for",
        caught_by: &[Test::program(
            "dmamap",
            "under_locks",
            "blocks_come_and_go_without_the_allocator",
        )],
    },
    Mutation {
        name: "tree-names-a-pool-in-vain",
        selection: Selection::Whole,
        file: "dmamap/src/system/device_memory.rs",
        find: "Devices::Segment { segment } => users.push(User::Segment(*segment)),",
        replace: "Devices::Segment { .. } => {}",
        why: "devices that firmware confines to some memory reach all of it",
        caught_by: &[device_memory(
            "a_pool_of_the_host_bridge_is_shared_by_all_that_have_none_themselves",
        )],
    },
    Mutation {
        name: "coherent-memory-of-the-tree-not-handed-over",
        selection: Selection::Whole,
        file: "dmamap/src/system/attach.rs",
        find: "self.hand_over_memory(&core);",
        replace: "",
        why: "the device is given memory that firmware did not set aside for it",
        caught_by: &[device_memory(
            "coherent_memory_of_the_tree_is_the_devices_coherent_memory",
        )],
    },
    Mutation {
        name: "pool-that-others-use-accepted",
        selection: Selection::Whole,
        file: "firmware/src/devicetree/device_memory.rs",
        find: "let before = if is_pool(number) { *all } else { *pools };",
        replace: "let before = *pools;",
        why: "a device is confined to memory that firmware keeps for something else",
        caught_by: &[Test::program(
            "firmware",
            "parse/device_memory",
            "memory_that_is_reserved_twice_is_told",
        )],
    },
];

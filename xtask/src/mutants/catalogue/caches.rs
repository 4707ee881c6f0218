//! Caches that a device does not snoop: what is written back and dropped when, and how it is known that it must.

use super::super::mutation::{Mutation, Selection, Test};

const GIVEN: &str = "dmamap/src/map/given.rs";
const ENDING: &str = "dmamap/src/map/live/ending.rs";
const SYNCS: &str = "dmamap/src/map/live/syncs.rs";
const RAW: &str = "dmamap/src/map/raw/mod.rs";

const fn caches(name: &'static str) -> Test {
    Test::program("journeys", "caches", name)
}

const RIGHT: Test = caches("forgotten::nothing_is_wrong_with_all_of_them");
const COST: Test = caches("mixed::maintenance_is_what_the_direction_needs_and_is_counted");

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "map-does-not-clean",
        selection: Selection::Whole,
        file: GIVEN,
        find: "self.clean_for_device(widened(piece, FRAME_SIZE_LOG2));",
        replace: "let _ = widened(piece, FRAME_SIZE_LOG2);",
        why: "the device reads what memory held before, and a dirty line goes over what it writes",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "map-cleans-the-buffer-alone",
        selection: Selection::Whole,
        file: GIVEN,
        find: "widened(piece, FRAME_SIZE_LOG2)",
        replace: "widened(piece, FRAME_SIZE_LOG2 - FRAME_SIZE_LOG2)",
        why: "the device reads in the rest of the frame what somebody else left there",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "unmap-does-not-invalidate",
        selection: Selection::Whole,
        file: ENDING,
        find: "if is_automatic && self.direction.device_writes() {",
        replace: "if false {",
        why: "the CPU reads what it had before the device wrote",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "unmap-invalidates-what-was-only-read",
        selection: Selection::Whole,
        file: ENDING,
        find: "if is_automatic && self.direction.device_writes() {",
        replace: "if is_automatic {",
        why: "every transfer to a device costs twice",
        caught_by: &[COST],
    },
    Mutation {
        name: "sync-for-cpu-only-orders",
        selection: Selection::Whole,
        file: SYNCS,
        find: "if self.need_sync() && self.direction.device_writes() {",
        replace: "if false {",
        why: "a view shows what the CPU had before",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "sync-for-device-only-orders",
        selection: Selection::Whole,
        file: SYNCS,
        find: "if self.need_sync() && self.direction.device_reads() {",
        replace: "if false {",
        why: "the device does not read what was written in a view",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "raw-map-does-not-clean",
        selection: Selection::Whole,
        file: GIVEN,
        find: "(Given::InPlace(piece), Frames::Shared) => self.clean_for_device(piece),",
        replace: "(Given::InPlace(_), Frames::Shared) => {}",
        why: "the raw layer maintains caches as the other does",
        caught_by: &[RIGHT],
    },
    Mutation {
        name: "raw-unmap-does-not-invalidate",
        selection: Selection::Whole,
        file: RAW,
        find: "self.invalidate_sides(&backing, pieces, 0, len_bytes);",
        replace: "let _ = Self::invalidate_sides;",
        why: "the raw layer maintains caches as the other does",
        caught_by: &[RIGHT],
    },
    Mutation {
        name: "coherence-not-looked-up",
        selection: Selection::Whole,
        file: "dmamap/src/system/coherence.rs",
        find: "bridge.map_or(Coherence::Snooped, |bridge| bridge.coherence())",
        replace: "bridge.map_or(Coherence::Snooped, |_| Coherence::Snooped)",
        why: "devices of a bridge that firmware calls not coherent would be taken for snooping ones",
        caught_by: &[RIGHT, COST],
    },
    Mutation {
        name: "exception-not-looked-up",
        selection: Selection::Whole,
        file: "dmamap/src/system/coherence.rs",
        find: "exceptions.find(|(known, _)| *known == device)",
        replace: "exceptions.find(|(known, _)| *known != device)",
        why: "what boot code says of one device holds for that one",
        caught_by: &[caches(
            "mixed::the_last_word_on_a_device_holds_from_its_next_attachment",
        )],
    },
    Mutation {
        name: "iort-not-asked-for-coherence",
        selection: Selection::Whole,
        file: "journeys/src/boot.rs",
        find: "ours.any(|root| !root.memory.coherent)",
        replace: "ours.any(|_| false)",
        why: "a root complex that is not coherent is so whatever else is said",
        caught_by: &[caches(
            "mixed::what_a_table_says_counts_where_the_bridge_is_said_to_be_coherent",
        )],
    },
    Mutation {
        name: "second-mapping-through-the-caches",
        selection: Selection::Whole,
        file: "hosted/src/platform.rs",
        find: "unsafe { self.0.uncached.map(ram, &pages) }",
        replace: "unsafe { let _ = ram; self.0.uncached.map(hardware.ram(), &pages) }",
        why: "what is stored in coherent memory stays in the caches, where the device does not look",
        caught_by: &[RIGHT],
    },
];

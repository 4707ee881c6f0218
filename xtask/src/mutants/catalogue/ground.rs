//! What the tests themselves stand on: firmware's checks, and a kernel that notices misuse.

use super::super::mutation::{Mutation, Selection, Test};

const fn parse(name: &'static str) -> Test {
    Test::program("firmware", "parse", name)
}

const fn platform(name: &'static str) -> Test {
    Test::program("hosted", "platform", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "checksum-unchecked",
        selection: Selection::Whole,
        file: "firmware/src/fields.rs",
        find: "sum => Err(self.error(checksum_at, Damage::Checksum { sum }))",
        replace: "_ => { let _ = checksum_at; Ok(()) }",
        why: "a damaged table tells which device is whose",
        caught_by: &[parse("damage::one_changed_byte_is_always_told")],
    },
    Mutation {
        name: "checksum-of-the-pointer-unchecked",
        selection: Selection::Whole,
        file: "firmware/src/rsdp.rs",
        find: "whole.check_sum(Self::EXTENDED_CHECKSUM_AT)?;",
        replace: "",
        why: "a damaged pointer leads to something that is no table",
        caught_by: &[parse("tables::damaged_rsdp_is_refused")],
    },
    Mutation {
        name: "freed-frames-not-poisoned",
        selection: Selection::Whole,
        file: "hosted/src/frames/poison.rs",
        find: "unsafe { start.write_bytes(POISON, frames.len_bytes() as usize) };",
        replace: "let _ = start;",
        why: "a table that was freed too early goes on working",
        caught_by: &[platform(
            "freed_frames_are_poisoned_before_hardware_hears_of_it",
        )],
    },
    Mutation {
        name: "writes-to-free-memory-unnoticed",
        selection: Selection::Whole,
        file: "hosted/src/frames/poison.rs",
        find: "disturbed += u64::from(!intact);",
        replace: "let _ = intact;",
        why: "a device that still writes to memory its driver gave back is not found out",
        caught_by: &[platform("a_write_to_freed_memory_is_counted")],
    },
    Mutation {
        name: "hardware-not-told-of-freed-frames",
        selection: Selection::Whole,
        file: "hosted/src/platform.rs",
        find: "hardware.frames_freed(frames.start().as_u64(), frames.len_bytes());",
        replace: "let _ = hardware;",
        why: "the models cannot find a table that was freed too early",
        caught_by: &[platform(
            "freed_frames_are_poisoned_before_hardware_hears_of_it",
        )],
    },
];

//! AMD-Vi: absent means open, entries are cached, and the event log is a ring of its own.

use super::super::mutation::{Mutation, Selection, Test};

const UNIT: &str = "dmamap/src/iommu/amd/mod.rs";
const START: &str = "dmamap/src/iommu/amd/start.rs";
const QUEUE: &str = "dmamap/src/iommu/amd/invalidation.rs";
const LOG: &str = "dmamap/src/iommu/amd/fault.rs";

const fn driver(name: &'static str) -> Test {
    Test::program("dmamap", "amd", name)
}

const ORDINARY: Test = driver("units::an_ordinary_unit");

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "amd-open-table",
        selection: Selection::Core,
        file: "dmamap/src/iommu/amd/device_table.rs",
        find: "const BLOCKED: u64 = TranslationWord::new().with_v(true).with_tv(true).into_bits();",
        replace: "const BLOCKED: u64 = TranslationWord::new().into_bits();",
        why: "a device whose entry is not valid passes as if there were no unit",
        caught_by: &[driver(
            "device_table::every_device_is_blocked_from_the_beginning_but_those_firmware_left_at_work",
        )],
    },
    Mutation {
        name: "amd-detach-keeps-cached-entry",
        selection: Selection::Core,
        file: UNIT,
        find: "self.forget_entry(device)?; tables.unname(device); self.forget_device(device, domain)",
        replace: "tables.unname(device); Ok(())",
        why: "the unit goes on with the entry it remembers, into tables that are given back",
        caught_by: &[ORDINARY],
    },
    Mutation {
        name: "amd-detached-entry-keeps-its-id",
        selection: Selection::Whole,
        file: UNIT,
        find: "tables.unname(device);",
        replace: "",
        why: "a device that is blocked shares the id of the domain that gets it next, and what is remembered under it",
        caught_by: &[driver("device_table::a_detached_device_is_blocked_again")],
    },
    Mutation {
        name: "amd-pages-forgotten-beside-the-entry",
        selection: Selection::Whole,
        file: QUEUE,
        find: "self.forget_entry(device)?; self.submit(&[domain_command(domain.0)], \"device invalidation\")",
        replace: "self.submit(&[entry_command(device), domain_command(domain.0)], \"device invalidation\")",
        why: "a translation made from the stale entry after its pages were forgotten stays",
        caught_by: &[driver(
            "queue::pages_are_forgotten_only_when_the_entry_is_known_to_be",
        )],
    },
    Mutation {
        name: "amd-attach-keeps-cached-entry",
        selection: Selection::Whole,
        file: UNIT,
        find: "tables.point(device, translate); self.forget_device(device, domain)",
        replace: "tables.point(device, translate); Ok(())",
        why: "the unit goes on with the entry it remembers, and refuses the device, or lets it into its old domain",
        caught_by: &[driver(
            "units::identity_passes_and_ends_with_the_attachment",
        )],
    },
    Mutation {
        name: "amd-first-page-only",
        selection: Selection::Core,
        file: QUEUE,
        find: "(FRAME_SIZE_LOG2 + block.pages_log2) as u8",
        replace: "FRAME_SIZE_LOG2 as u8",
        why: "all pages of a block but the first stay cached",
        caught_by: &[ORDINARY],
    },
    Mutation {
        name: "amd-unlinked-tables-stay-cached",
        selection: Selection::Whole,
        file: QUEUE,
        find: "let pde = change.tables == TableChange::Unlinked;",
        replace: "let pde = change.tables != change.tables;
        let _ = TableChange::Unlinked;",
        why: "the unit walks through tables that were given back",
        caught_by: &[driver(
            "units::tables_that_are_given_back_are_forgotten_first",
        )],
    },
    Mutation {
        name: "amd-exclusion-range-stays",
        selection: Selection::Whole,
        file: START,
        find: "registers.write_u64(regs::EXCLUSION_BASE, ExclusionBase::new().into_bits());",
        replace: "let _ = ExclusionBase::new();",
        why: "what firmware excluded is reached by every device, untranslated",
        caught_by: &[driver("start::what_firmware_left_on_is_turned_off_first")],
    },
    Mutation {
        name: "amd-overflow-not-cleared",
        selection: Selection::Whole,
        file: LOG,
        find: "registers.write_u64(regs::STATUS, overflow.into_bits());",
        replace: "let _ = overflow;",
        why: "the log stays stopped, or goes on against the manual",
        caught_by: &[driver(
            "faults::an_overflow_is_reported_and_the_log_goes_on",
        )],
    },
    Mutation {
        name: "amd-log-interrupt-not-cleared",
        selection: Selection::Whole,
        file: LOG,
        find: "Status::new().with_eventlogint(true)",
        replace: "Status::new()",
        why: "after the first event no other raises an interrupt",
        caught_by: &[driver("faults::faults_are_read_though_nobody_asks")],
    },
    Mutation {
        name: "amd-read-events-not-cleared",
        selection: Selection::Whole,
        file: LOG,
        find: "self.log.entries.store(word, 0);",
        replace: "",
        why: "an entry of the lap before is taken for one that memory does not show yet",
        caught_by: &[driver(
            "faults::an_entry_of_the_lap_before_is_not_taken_for_a_new_one",
        )],
    },
    Mutation {
        name: "amd-hypertransport-addresses-mapped",
        selection: Selection::Whole,
        file: UNIT,
        find: "const SPECIAL: [(u64, u64); 2] = [(0xfee0_0000, 0x10_0000), (0xfd_0000_0000, 0x3_0000_0000)];",
        replace: "const SPECIAL: [(u64, u64); 1] = [(0xfee0_0000, 0x10_0000)];",
        why: "memory is mapped where no request is one to memory",
        caught_by: &[Test::program(
            "journeys",
            "amd",
            "what_no_device_may_be_given_is_kept",
        )],
    },
];

//! Every unit and every device that firmware names.

use super::super::mutation::{Mutation, Selection, Test};

const SCOPE: &str = "dmamap/src/iommu/scope.rs";
const START: &str = "dmamap/src/system/start.rs";

const fn scopes(name: &'static str) -> Test {
    Test::program("dmamap", "system/scopes", name)
}

const FIRMWARE_AT_WORK: Test = Test::program(
    "dmamap",
    "vtd/device_tables",
    "what_firmware_left_at_work_is_never_refused",
);

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "unit-ignored",
        selection: Selection::Core,
        file: SCOPE,
        find: "for assignment in &description.assignments {",
        replace: "for assignment in description.assignments.iter().filter(|each| each.unit != 0) {",
        why: "the devices of a unit are programmed into another one, or into none",
        caught_by: &[scopes("each_device_is_translated_by_its_unit")],
    },
    Mutation {
        name: "unit-not-turned-on",
        selection: Selection::Core,
        file: START,
        find: "for unit in units { unit.turn_on()?; }",
        replace: "for unit in units.iter().skip(1) { unit.turn_on()?; }",
        why: "the devices of a unit reach all memory, and mapped addresses lead elsewhere",
        caught_by: &[scopes("a_device_nobody_attached_is_refused_by_its_unit")],
    },
    Mutation {
        name: "endpoint-scope-ignored",
        selection: Selection::Core,
        file: SCOPE,
        find: "ScopeKind::Endpoint => resolve(segment, scope, topology)
                .map(|one| requester(one.requester()))
                .into_iter()
                .collect(),",
        replace: "ScopeKind::Endpoint => Vec::new(),",
        why: "a device is programmed into the unit of all others, which does not stand before it",
        caught_by: &[scopes("each_device_is_translated_by_its_unit")],
    },
    Mutation {
        name: "sub-hierarchy-ignored",
        selection: Selection::Core,
        file: SCOPE,
        find: ".chain(topology.below(bridge))",
        replace: "",
        why: "what is behind a bridge is programmed into another unit than the bridge",
        caught_by: &[scopes("each_device_is_translated_by_its_unit")],
    },
    Mutation {
        name: "catch-all-unit-ignored",
        selection: Selection::Core,
        file: SCOPE,
        find: "Devices::Segment { segment } => [(*segment, 0, u16::MAX)].into(),",
        replace: "Devices::Segment { .. } => Vec::new(),",
        why: "devices that no unit names count as untranslated",
        caught_by: &[scopes("every_function_found_is_behind_a_unit")],
    },
    Mutation {
        name: "reserved-region-ignored",
        selection: Selection::Core,
        file: START,
        find: "let reserved = ReservedFor::all(description, topology)?;",
        replace: "let reserved: Vec<ReservedFor> = Vec::new();",
        why: "a device that firmware left at work loses its memory when translation begins",
        caught_by: &[FIRMWARE_AT_WORK],
    },
    Mutation {
        name: "translation-before-reserved-regions",
        selection: Selection::Whole,
        file: START,
        find: "self.attach_firmware(&with_direct)?;",
        replace: "for unit in units {
            unit.turn_on()?;
        }
        self.attach_firmware(&with_direct)?;",
        why: "for a moment a device that firmware left at work reaches nothing",
        caught_by: &[FIRMWARE_AT_WORK],
    },
    Mutation {
        name: "faults-not-cleared",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/fault.rs",
        find: "registers.write_u32(regs::FSTS_REG, stands.into_bits());",
        replace: "",
        why: "after one overflow a unit records no fault any more",
        caught_by: &[Test::program(
            "dmamap",
            "vtd/faults",
            "an_overflow_is_reported_and_cleared",
        )],
    },
];

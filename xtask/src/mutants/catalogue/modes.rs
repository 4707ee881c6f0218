//! Units that remember absence, or see stores late.

use super::super::mutation::{Mutation, Selection, Test};

const UNIT: &str = "dmamap/src/iommu/vtd/mod.rs";

const fn units(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/units", name)
}

const fn remembered(name: &'static str) -> Test {
    Test::program("dmamap", "vtd/remembered", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "map-does-not-invalidate-absence",
        selection: Selection::Whole,
        file: UNIT,
        find: "AtMap::Invalidate => {
                self.invalidate(
                    domain,
                    Change { range, tables: TableChange::Unlinked },
                )
            }",
        replace: "AtMap::Invalidate => {
                let _ = (domain, range);
                Ok(())
            }",
        why: "under caching mode a unit remembers that nothing was mapped there",
        caught_by: &[units("a_unit_that_caches_that_there_is_nothing")],
    },
    Mutation {
        name: "attach-does-not-invalidate-absence",
        selection: Selection::Whole,
        file: UNIT,
        find: "AtMap::Invalidate => self
                    .forget_device(attachment, DomainId(0))
                    .and_then(|()| self.forget_device(attachment, domain)),",
        replace: "AtMap::Invalidate => Ok(()),",
        why: "under caching mode a unit remembers that the device had no context entry",
        caught_by: &[remembered(
            "that_a_device_was_unknown_is_forgotten_when_it_is_attached",
        )],
    },
    Mutation {
        name: "replaced-context-not-invalidated",
        selection: Selection::Whole,
        file: UNIT,
        find: "Written::Replaced => self.forget_device(attachment, domain),",
        replace: "Written::Replaced => Ok(()),",
        why: "a unit goes on with the table that the device had before",
        caught_by: &[remembered(
            "a_unit_follows_a_device_from_one_table_to_the_other",
        )],
    },
    Mutation {
        name: "first-stage-width-not-said",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/pasid_table.rs",
        find: ".with_pgtt(Translation::FirstStage)
                .with_aw(width_of(levels.into()))",
        replace: ".with_pgtt(Translation::FirstStage)",
        why: "a unit that looks at the width refuses what lies beyond the lowest half gigabyte",
        caught_by: &[Test::program(
            "qemu",
            "reach",
            "memory_is_reached_at_every_power_of_two",
        )],
    },
    Mutation {
        name: "unit-counted-as-one-that-maps-do-not-concern",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/domain/walkers.rs",
        find: "self.told.fetch_or(1 << unit, Ordering::AcqRel);",
        replace: "let _ = &self.told;",
        why: "under caching mode a unit remembers that nothing was mapped there",
        caught_by: &[units("a_unit_that_caches_that_there_is_nothing")],
    },
    Mutation {
        name: "write-buffer-not-flushed",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/registers.rs",
        find: "self.command(\"write-buffer flush\", |now| now.with_wbf(true), |status| !status.wbfs())",
        replace: "Ok(())",
        why: "stores to tables wait in the chipset while the device is told of the mapping",
        caught_by: &[units("a_unit_behind_a_write_buffer")],
    },
];

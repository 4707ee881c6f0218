//! Units that remember absence, or see stores late.

use super::super::mutation::{Expectation::Caught, Mutation, Selection, Test};

const UNIT: &str = "dmamap/src/iommu/vtd/mod.rs";

const fn units(name: &'static str) -> Test {
    Test::program("dmamap", "units", name)
}

const fn reserved(name: &'static str) -> Test {
    Test::program("dmamap", "reserved", name)
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
        expect: Caught(&[units("a_unit_that_caches_that_there_is_nothing")]),
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
        expect: Caught(&[units("a_unit_that_caches_that_there_is_nothing")]),
    },
    Mutation {
        name: "replaced-context-not-invalidated",
        selection: Selection::Whole,
        file: UNIT,
        find: "Written::Replaced => self.forget_device(attachment, domain),",
        replace: "Written::Replaced => Ok(()),",
        why: "a unit goes on with the table that the device had before",
        expect: Caught(&[reserved(
            "what_firmware_reserved_is_reached_by_its_device_alone",
        )]),
    },
    Mutation {
        name: "write-buffer-not-flushed",
        selection: Selection::Whole,
        file: "dmamap/src/iommu/vtd/registers.rs",
        find: "self.command(\"write-buffer flush\", |now| now.with_wbf(true), |status| !status.wbfs())",
        replace: "Ok(())",
        why: "stores to tables wait in the chipset while the device is told of the mapping",
        expect: Caught(&[units("a_unit_behind_a_write_buffer")]),
    },
];

//! Buses, BARs, claims and interrupts.

use super::super::mutation::{Mutation, Selection, Test};

const fn pci(name: &'static str) -> Test {
    Test::program("dmamap", "pci", name)
}

const fn resource(name: &'static str) -> Test {
    Test::library("dmamap", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "bars-sized-while-decoding",
        selection: Selection::Whole,
        file: "dmamap/src/pci/program.rs",
        find: "command.with_io_space(false).with_memory_space(false)",
        replace: "command",
        why: "while all ones stand in a BAR the function answers at other devices' addresses",
        caught_by: &[pci(
            "decoding_that_firmware_left_on_is_off_while_bars_are_sized",
        )],
    },
    Mutation {
        name: "claim-conflict-unchecked",
        selection: Selection::Whole,
        file: "dmamap/src/resource.rs",
        find: "if let Some(other) = siblings.iter().find(|node| node.range.overlaps(range)) {
                return Err(other.conflict(name, range));
            }",
        replace: "",
        why: "two drivers drive one device's registers",
        caught_by: &[resource(
            "resource::tests::a_conflict_names_who_holds_it_and_where",
        )],
    },
    Mutation {
        name: "region-conflict-unchecked",
        selection: Selection::Whole,
        file: "dmamap/src/resource.rs",
        find: "if let Some(other) = siblings.iter().find(astride) {
                return Err(other.conflict(name, range));
            }",
        replace: "let _ = astride;",
        why: "a device's registers are placed over another's",
        caught_by: &[resource(
            "resource::tests::a_region_astride_another_or_within_a_claim_is_refused",
        )],
    },
    Mutation {
        name: "memory-can-be-claimed",
        selection: Selection::Whole,
        file: "dmamap/src/resource.rs",
        find: "if !matches!(parent, Some(Kind::Registers)) {",
        replace: "if false {",
        why: "safe code gets a register window onto the kernel's memory",
        caught_by: &[resource(
            "resource::tests::memory_and_unknown_addresses_cannot_be_claimed",
        )],
    },
    Mutation {
        name: "bus-masters-left-by-firmware",
        selection: Selection::Whole,
        file: "dmamap/src/pci/scan.rs",
        find: "for (function, _) in found.iter().zip(&stays).filter(|(_, stays)| !**stays) {",
        replace: "for (function, _) in found.iter().zip(&stays).filter(|(_, stays)| !**stays).take(0) {",
        why: "devices do DMA before any driver and any IOMMU is there",
        caught_by: &[pci("bus_mastering_is_off_but_for_what_firmware_keeps")],
    },
    Mutation {
        name: "interrupt-entry-stays-masked",
        selection: Selection::Whole,
        file: "dmamap/src/pci/msix.rs",
        find: "self.set_vector_control(entry, |control| control.with_mask(false))",
        replace: "self.set_vector_control(entry, |control| control.with_mask(true))",
        why: "the device remembers its interrupts and never raises one",
        caught_by: &[pci("an_msix_table_is_carved_out_of_the_drivers_window")],
    },
    Mutation {
        name: "interrupt-table-restored-unlocked",
        selection: Selection::Whole,
        file: "dmamap/src/pci/msix.rs",
        find: "let entry = *self.entry_of(&mut told, index)?;",
        replace: "let entry = *self.entry_of(&mut told, index)?;
            drop(told);",
        why: "an interrupt that is masked meanwhile is unmasked again",
        caught_by: &[Test::program(
            "dmamap",
            "system/interrupted",
            "an_interrupt_that_is_masked_while_its_table_is_restored_stays_masked",
        )],
    },
    Mutation {
        name: "interrupt-entry-changed-while-unmasked",
        selection: Selection::Whole,
        file: "dmamap/src/pci/msix.rs",
        find: "self.write_vector_control(entry, |now| now.with_mask(true))?;
        self.write_message(",
        replace: "self.write_message(",
        why: "a message goes to half the old and half the new address",
        caught_by: &[pci("an_entry_that_is_programmed_anew_is_masked_first")],
    },
    Mutation {
        name: "ordered-write-without-barrier",
        selection: Selection::Whole,
        file: "dmamap/src/mmio/register.rs",
        find: "self.mapping.platform.dma_wmb();
            self.write_relaxed(value);",
        replace: "self.write_relaxed(value);",
        why: "a device is told of memory that it cannot see yet",
        caught_by: &[Test::program(
            "dmamap",
            "mmio",
            "ordered_accesses_order_memory_around_them",
        )],
    },
    Mutation {
        name: "registers-of-other-machines-mapped",
        selection: Selection::Whole,
        file: "dmamap/src/mmio.rs",
        find: "if claim.machine() != platform.machine() {",
        replace: "if claim.machine() != platform.machine() && false {",
        why: "a claim of one machine makes a window onto whatever another has there",
        caught_by: &[Test::program(
            "dmamap",
            "mmio",
            "registers_of_another_machine_are_not_mapped",
        )],
    },
    Mutation {
        name: "guarded-registers-written-safely",
        selection: Selection::Whole,
        file: "dmamap/src/pci/function.rs",
        find: "match self.guarded::<T>(offset) {",
        replace: "match self.guarded::<T>(offset).filter(|_| false) {",
        why: "safe code has a device write messages anywhere, or lets peers reach each other",
        caught_by: &[Test::program(
            "dmamap",
            "pci",
            "registers_that_reach_beyond_the_function_are_not_for_safe_code_to_write",
        )],
    },
    Mutation {
        name: "bridges-written-safely",
        selection: Selection::Whole,
        file: "dmamap/src/pci/guarded.rs",
        find: "self.guarded_by_capability::<T>(offset).or(bridge)",
        replace: "self.guarded_by_capability::<T>(offset).or(bridge.filter(|_| false))",
        why: "safe code moves the configuration space of every function from under it",
        caught_by: &[Test::program(
            "dmamap",
            "pci",
            "no_register_of_a_bridge_is_for_safe_code_to_write",
        )],
    },
    Mutation {
        name: "units-reset-safely",
        selection: Selection::Whole,
        file: "dmamap/src/pci/reset.rs",
        find: "if self.is_unit() {",
        replace: "if self.is_unit() && false {",
        why: "safe code has an IOMMU forget what it keeps devices from",
        caught_by: &[
            Test::program(
                "dmamap",
                "virtio/units",
                "a_function_that_was_started_as_a_unit_is_its_drivers_alone",
            ),
            Test::program(
                "dmamap",
                "pci",
                "a_function_that_is_an_iommu_by_its_class_is_its_drivers_alone",
            ),
        ],
    },
];

//! What the units of a machine did, whatever their kind.

use std::ops::Sub;

use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::{Iommu, Machine};

use rig::kinds::kinds;

/// The kinds of units that are asked by a ring of commands.
pub(crate) fn ring_kinds() -> impl Iterator<Item = (&'static str, Iommu)> {
    kinds().into_iter().filter(|(name, _)| *name != "virtio")
}

/// Numbers of all units together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Did {
    /// Commands that made a unit forget translations.
    pub(crate) invalidations: u64,
    /// Of these, those after which walks begin at the top again.
    pub(crate) table_invalidations: u64,
    /// Commands that told software that all before them were done.
    pub(crate) waits: u64,
    /// The most of these that stood in one unit's queue at once, ever.
    pub(crate) waits_at_once: u64,
}

impl Did {
    /// Since the machine was built.
    pub(crate) fn read(machine: &Machine) -> Self {
        let mut all = Self::default();
        let mut add = |invalidations: &[u64], tables, waits, at_once: u64| {
            all.invalidations += invalidations.iter().sum::<u64>();
            all.table_invalidations += tables;
            all.waits += waits;
            all.waits_at_once = all.waits_at_once.max(at_once);
        };
        for did in machine.vtd_units().map(|unit| unit.statistics()) {
            let invalidations = [
                did.global_invalidations,
                did.domain_invalidations,
                did.page_invalidations,
                did.pasid_invalidations,
            ];
            let tables = did.table_invalidations;
            add(&invalidations, tables, did.waits, did.waits_at_once);
        }
        for did in machine.amd_units().map(|unit| unit.statistics()) {
            let invalidations = [
                did.global_invalidations,
                did.domain_invalidations,
                did.page_invalidations,
            ];
            let tables = did.table_invalidations;
            add(&invalidations, tables, did.waits, did.waits_at_once);
        }
        for did in machine.smmu_units().map(|unit| unit.statistics()) {
            let invalidations = [
                did.global_invalidations,
                did.domain_invalidations,
                did.page_invalidations,
            ];
            let tables = did.table_invalidations;
            add(&invalidations, tables, did.syncs, did.syncs_at_once);
        }
        for did in machine.riscv_units().map(|unit| unit.statistics()) {
            let invalidations = [
                did.global_invalidations,
                did.space_invalidations,
                did.page_invalidations,
            ];
            let tables = did.table_invalidations;
            add(&invalidations, tables, did.fences, did.fences_at_once);
        }
        all
    }
}

impl Sub for Did {
    type Output = Self;

    /// What was done since `earlier`; of what stands at once, all that ever did.
    fn sub(self, earlier: Self) -> Self {
        Self {
            invalidations: self.invalidations - earlier.invalidations,
            table_invalidations: self.table_invalidations - earlier.table_invalidations,
            waits: self.waits - earlier.waits,
            waits_at_once: self.waits_at_once,
        }
    }
}

/// Whether a unit lets `requester` read at `bus`. It remembers then what it found.
pub(crate) fn reaches(machine: &Machine, requester: u16, bus: u64) -> bool {
    fn any<U: Translator>(unit: &U, requester: u16, bus: u64) -> bool {
        unit.translate(requester, bus, Access::Read).is_ok()
    }
    // The first of several is the one in front of the devices that tests drive.
    machine
        .vtd_units()
        .take(1)
        .any(|unit| any(&**unit, requester, bus))
        || machine.amd_units().any(|unit| any(&**unit, requester, bus))
        || machine
            .smmu_units()
            .any(|unit| any(&**unit, requester, bus))
        || machine
            .riscv_units()
            .any(|unit| any(&**unit, requester, bus))
}

/// Has each wait of each unit take 1 to 7 microseconds.
pub(crate) fn slow_waits(machine: &Machine) {
    const MICROSECONDS: std::ops::RangeInclusive<u64> = 1..=7;
    machine
        .vtd_units()
        .for_each(|unit| unit.slow_waits(MICROSECONDS, 1));
    machine
        .amd_units()
        .for_each(|unit| unit.slow_waits(MICROSECONDS, 2));
    machine
        .smmu_units()
        .for_each(|unit| unit.slow_waits(MICROSECONDS, 3));
    machine
        .riscv_units()
        .for_each(|unit| unit.slow_waits(MICROSECONDS, 4));
}

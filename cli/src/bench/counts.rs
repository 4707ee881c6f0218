//! What was counted while the threads worked: by the device's figures, and by the units themselves.

use std::ops::Sub;

use dmamap::device::Device;
use hosted::Hosted;

use crate::board::Board;
use crate::computer::Booted;

/// What the IOMMU's models did, whatever the driver believes. Only their own hardware tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitCounts {
    /// Commands that made a unit forget something; for virtio-iommu, UNMAP requests.
    pub(super) invalidations: u64,
    /// Commands that tell software that all before them are done, which it waits for; for virtio-iommu,
    /// notifications, as software waits for each to be answered.
    pub(super) waits: u64,
    /// MAP requests of virtio-iommu; others read tables.
    pub(super) map_requests: u64,
}

impl UnitCounts {
    /// Of all units of `board` since it was built; `None` for QEMU's, which do not tell.
    fn read(board: &Board) -> Option<Self> {
        let Board::Machine(machine) = board else {
            return None;
        };
        let mut all = Self::default();
        let mut add = |invalidations: &[u64], waits| {
            all.invalidations += invalidations.iter().sum::<u64>();
            all.waits += waits;
        };
        for unit in machine.vtd_units() {
            let did = unit.statistics();
            add(
                &[
                    did.context_invalidations,
                    did.global_invalidations,
                    did.domain_invalidations,
                    did.page_invalidations,
                    did.pasid_invalidations,
                    did.pasid_cache_invalidations,
                ],
                did.waits,
            );
        }
        for unit in machine.amd_units() {
            let did = unit.statistics();
            add(
                &[
                    did.entry_invalidations,
                    did.global_invalidations,
                    did.domain_invalidations,
                    did.page_invalidations,
                ],
                did.waits,
            );
        }
        for unit in machine.smmu_units() {
            let did = unit.statistics();
            add(
                &[
                    did.config_invalidations,
                    did.global_invalidations,
                    did.domain_invalidations,
                    did.page_invalidations,
                ],
                did.syncs,
            );
        }
        for unit in machine.riscv_units() {
            let did = unit.statistics();
            add(
                &[
                    did.directory_invalidations,
                    did.device_invalidations,
                    did.global_invalidations,
                    did.space_invalidations,
                    did.page_invalidations,
                ],
                did.fences,
            );
        }
        for unit in machine.virtio_units() {
            let did = unit.statistics();
            add(&[did.unmaps], did.notifications);
            all.map_requests += did.maps;
        }
        Some(all)
    }
}

/// Numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) maps: u64,
    pub(super) unmaps: u64,
    pub(super) bounced_maps: u64,
    pub(super) bounced_bytes: u64,
    pub(super) cleaned_bytes: u64,
    pub(super) invalidated_bytes: u64,
    /// Flushes that several unmaps share.
    pub(super) flushes: u64,
    /// Unmaps that were left to these.
    pub(super) retired: u64,
    /// Invalidation commands that the driver saw completed.
    pub(super) commands: u64,
    pub(super) units: Option<UnitCounts>,
}

impl Counts {
    /// What was counted so far.
    pub(super) fn read(booted: &Booted, device: &Device<Hosted>) -> Self {
        let (figures, flushed) = (device.figures(), device.flush_figures());
        Self {
            maps: figures.maps,
            unmaps: figures.unmaps,
            bounced_maps: figures.bounced_maps,
            bounced_bytes: figures.bounced_bytes,
            cleaned_bytes: figures.cleaned_bytes,
            invalidated_bytes: figures.invalidated_bytes,
            flushes: flushed.flushes,
            retired: flushed.retired,
            commands: booted.system().invalidations(),
            units: UnitCounts::read(&booted.board),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            maps: self.maps - earlier.maps,
            unmaps: self.unmaps - earlier.unmaps,
            bounced_maps: self.bounced_maps - earlier.bounced_maps,
            bounced_bytes: self.bounced_bytes - earlier.bounced_bytes,
            cleaned_bytes: self.cleaned_bytes - earlier.cleaned_bytes,
            invalidated_bytes: self.invalidated_bytes - earlier.invalidated_bytes,
            flushes: self.flushes - earlier.flushes,
            retired: self.retired - earlier.retired,
            commands: self.commands - earlier.commands,
            units: self.units.zip(earlier.units).map(|(now, then)| UnitCounts {
                invalidations: now.invalidations - then.invalidations,
                waits: now.waits - then.waits,
                map_requests: now.map_requests - then.map_requests,
            }),
        }
    }
}

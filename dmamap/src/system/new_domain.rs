//! What a device's domain is when it is made: firmware's regions mapped, dangerous addresses out of reach.

use alloc::vec::Vec;

use super::reserved::{RegionKind, Reserved, ReservedRegion};
use super::{AttachError, DmaSystem};
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainId, FlushLimits, Requester, TableShape, TableShapes};
use crate::map::Permission;
use crate::platform::Platform;

impl<P: Platform> DmaSystem<P> {
    /// The memory firmware reserved for `device` and others of its group, in ascending order, none of it twice.
    pub(super) fn direct_regions_of(&self, device: Requester) -> Vec<PhysRange> {
        let regions = self.direct_of(device);
        regions.into_iter().map(|(memory, _)| memory).collect()
    }

    /// As [`direct_regions_of`](Self::direct_regions_of), with what the device may do there.
    pub(super) fn direct_of(&self, device: Requester) -> Vec<(PhysRange, Permission)> {
        let state = self.state.lock();
        let group = state.key_of(device);
        // What others of its group use it may use as well: nothing keeps them apart.
        let all = state.reserved.iter();
        let ours = all.filter(|each| state.key_of(each.device) == group);
        merged(ours.filter_map(|each| match each.what {
            Reserved::Direct(memory, permission) => Some((memory, permission)),
            Reserved::Unmappable(_) => None,
        }))
    }

    /// The bus addresses firmware keeps `device` and others of its group from using.
    pub(super) fn unmappable_of(&self, device: Requester) -> Vec<BusRange> {
        let state = self.state.lock();
        let group = state.key_of(device);
        let all = state.reserved.iter();
        let ours = all.filter(|each| state.key_of(each.device) == group);
        ours.filter_map(|each| match each.what {
            Reserved::Unmappable(range) => Some(range),
            Reserved::Direct(..) => None,
        })
        .collect()
    }

    /// A domain for `device` in which only the memory that firmware reserved for it is mapped, and nothing will
    /// ever be mapped where its unit or the bus does something else with an address.
    pub(super) fn build_domain(
        &self,
        device: Requester,
        unit: usize,
        id: DomainId,
    ) -> Result<Domain<P>, AttachError> {
        let fail = |error| AttachError::Domain { device, error };
        let (units, settings) = {
            let state = self.state.lock();
            (state.units.clone(), state.settings)
        };
        let regions = self.direct_of(device);
        let facts = units[unit].facts();
        let shape = match settings.table_levels {
            Some(levels) => facts.tables.iter().find(|shape| shape.levels == levels),
            None => self.narrowest(&facts.tables, &regions),
        };
        let Some(shape) = shape else {
            let levels = settings.table_levels.unwrap_or(0);
            return Err(AttachError::NoSuchLevels { device, levels });
        };
        let table = units[unit]
            .create_table(shape, id)
            .map_err(|error| fail(error.into()))?;
        let entries = settings.flush_entries;
        let entries =
            entries.unwrap_or_else(|| FlushLimits::entries_for(self.platform.cpu_count()));
        let limits = FlushLimits::new(entries, settings.flush_window_ms);
        let domain = Domain::new(self.platform, id, units.clone(), table, limits).map_err(fail)?;
        let domain = domain.with_address_order(settings.address_order);
        let beyond = BusAddr::new(1u64.checked_shl(facts.address_bits.into()).unwrap_or(0));
        let beyond = BusRange::new(beyond, beyond.as_u64().wrapping_neg()).ok();
        if let Some(beyond) = beyond.filter(|range| !range.is_empty()) {
            domain.reserve(beyond).map_err(fail)?;
        }
        let regions = self.reserved_regions(device);
        for ReservedRegion { range, kind } in regions.map_err(|error| fail(error.into()))? {
            match kind {
                RegionKind::Unmappable => domain.reserve(range).map_err(fail)?,
                RegionKind::Direct(permission) => {
                    let start = PhysAddr::new(range.start().as_u64());
                    let memory = PhysRange::new(start, range.len_bytes());
                    let memory = memory.expect("a direct region is memory at equal addresses");
                    domain.map_direct(memory, permission).map_err(fail)?;
                }
            }
        }
        Ok(domain)
    }

    /// The narrowest table that reaches all memory at its own address, or else the widest.
    fn narrowest(
        &self,
        tables: &TableShapes,
        regions: &[(PhysRange, Permission)],
    ) -> Option<TableShape> {
        let mut last = regions.iter().map(|(memory, _)| memory.last()).max();
        self.platform
            .memory_map(&mut |ram| last = last.max(Some(ram.last())));
        let bits = 64 - last.map_or(0, |last| last.as_u64().leading_zeros());
        let reaches = |shape: &TableShape| u32::from(shape.address_bits) >= bits;
        tables.iter().find(reaches).or(tables.iter().last())
    }
}

/// `regions` in ascending order. They may name memory twice, and in parts that overlap.
pub(super) fn merged(
    regions: impl Iterator<Item = (PhysRange, Permission)>,
) -> Vec<(PhysRange, Permission)> {
    let mut regions: Vec<_> = regions.collect();
    regions.sort_by_key(|(memory, _)| memory.start());
    let mut merged: Vec<(PhysRange, Permission)> = Vec::with_capacity(regions.len());
    for (region, permission) in regions {
        match merged.last_mut() {
            Some((last, known)) if last.overlaps(region) => {
                *last = union(*last, region);
                if *known != permission {
                    *known = Permission::ReadWrite;
                }
            }
            _ => merged.push((region, permission)),
        }
    }
    merged
}

/// The run from the first byte of either to the last, of two that overlap, `first` starting first.
fn union(first: PhysRange, second: PhysRange) -> PhysRange {
    let last = first.last().max(second.last());
    let len_bytes = last.as_u64() - first.start().as_u64() + 1;
    PhysRange::new(first.start(), len_bytes).unwrap_or(first)
}

/// What is left of `memory` without `holes`, which are sorted.
pub(super) fn without(memory: PhysRange, holes: &[PhysRange]) -> Vec<PhysRange> {
    let mut left = Vec::new();
    let mut rest = Some(memory);
    for hole in holes.iter().filter(|hole| hole.overlaps(memory)) {
        let Some(now) = rest.take() else { break };
        let before = hole.start().as_u64().saturating_sub(now.start().as_u64());
        left.extend(
            now.slice(0, before.min(now.len_bytes()))
                .filter(|piece| !piece.is_empty()),
        );
        let done = (hole.last().as_u64() - now.start().as_u64() + 1).min(now.len_bytes());
        rest = now
            .slice(done, now.len_bytes() - done)
            .filter(|piece| !piece.is_empty());
    }
    left.extend(rest);
    left
}

//! What a device's domain is when it is made: firmware's regions mapped, dangerous addresses out of reach.

use alloc::vec::Vec;

use super::{AttachError, DmaSystem};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::bridge::WindowKind;
use crate::iommu::{Domain, DomainId, Requester};
use crate::map::Permission;
use crate::platform::Platform;

impl<P: Platform> DmaSystem<P> {
    /// The memory firmware reserved for `device`, in ascending order, none of it twice.
    pub(super) fn direct_regions_of(&self, device: Requester) -> Vec<PhysRange> {
        let state = self.state.lock();
        let mut regions: Vec<PhysRange> = state
            .direct
            .iter()
            .filter(|(owner, _)| *owner == device)
            .map(|(_, memory)| *memory)
            .collect();
        regions.sort_by_key(|memory| memory.start());
        // Firmware may name memory twice, and in parts that overlap.
        let mut merged: Vec<PhysRange> = Vec::with_capacity(regions.len());
        for region in regions {
            match merged.last_mut() {
                Some(last) if last.overlaps(region) => *last = union(*last, region),
                _ => merged.push(region),
            }
        }
        merged
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
        let regions = self.direct_regions_of(device);
        let facts = units[unit].facts();
        let levels = match settings.table_levels {
            Some(levels) => levels,
            None => self.fewest_levels(facts.levels, &regions),
        };
        if levels >= 8 || facts.levels & 1 << levels == 0 {
            return Err(AttachError::NoSuchLevels { device, levels });
        }
        let table = units[unit]
            .create_table(levels)
            .map_err(|error| fail(error.into()))?;
        let domain = Domain::new(self.platform, id, units.clone(), table).map_err(fail)?;
        let beyond = BusAddr::new(1u64.checked_shl(facts.address_bits.into()).unwrap_or(0));
        let windows = self
            .bridges
            .iter()
            .filter(|bridge| bridge.segment() == device.segment);
        let windows = windows.flat_map(|bridge| bridge.windows());
        let reserved = units[unit]
            .untranslated()
            .into_iter()
            .chain(windows.filter(|w| w.kind != WindowKind::Io).map(|w| w.bus))
            .chain(
                BusRange::new(beyond, beyond.as_u64().wrapping_neg())
                    .ok()
                    .filter(|r| !r.is_empty()),
            );
        for range in reserved {
            domain.reserve(range).map_err(fail)?;
        }
        for memory in regions {
            domain
                .map_direct(memory, Permission::ReadWrite)
                .map_err(fail)?;
        }
        Ok(domain)
    }

    /// The fewest levels of `supported` that reach all memory at its own address.
    fn fewest_levels(&self, supported: u8, regions: &[PhysRange]) -> u8 {
        let mut last = regions.iter().map(|memory| memory.last()).max();
        self.platform
            .memory_map(&mut |ram| last = last.max(Some(ram.last())));
        let bits = 64 - last.map_or(0, |last| last.as_u64().leading_zeros());
        let reaches = |levels: &u8| 12 + 9 * u32::from(*levels) >= bits;
        let mut walked = (1..8).filter(|levels| supported & 1 << levels != 0);
        let widest = walked.clone().next_back().unwrap_or(0);
        walked.find(reaches).unwrap_or(widest)
    }
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

//! What the unit's configuration says (VIRTIO 5.13.4), understood and checked.

use hw::virtio::feature::Features;
use hw::virtio::iommu::config;

use super::transport::Transport;
use crate::addr::{BusAddr, BusRange};
use crate::iommu::unit::{TableShape, TableShapes};
use crate::pagetable::{Geometry, Granule, MAX_LEVELS};
use crate::platform::Platform;

/// Most bytes of properties that this driver makes room for.
const PROBE_BYTES_MAX: u32 = 1 << 16;

/// Fewest levels of a domain's record.
const LEVELS_MIN: u32 = 3;

/// The configuration of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// The page every mapping is made of, at least a frame.
    pub(super) granule: Granule,
    /// First and last address that can be mapped.
    pub(super) input: (u64, u64),
    /// First and last number of a domain.
    pub(super) domains: (u32, u32),
    /// Bytes of properties, where the unit answers PROBE.
    pub(super) probe_size: Option<u32>,
}

impl Config {
    /// Reads it, of a unit with these features. An error says what the unit lacks.
    pub(super) fn read<P: Platform>(
        transport: &dyn Transport<P>,
        features: Features,
    ) -> Result<Self, &'static str> {
        let mask = transport.config_u64(config::PAGE_SIZE_MASK);
        let input = if features.input_range() {
            (
                transport.config_u64(config::INPUT_RANGE_START),
                transport.config_u64(config::INPUT_RANGE_END),
            )
        } else {
            (0, u64::MAX)
        };
        let domains = if features.domain_range() {
            (
                transport.config_u32(config::DOMAIN_RANGE_START),
                transport.config_u32(config::DOMAIN_RANGE_END),
            )
        } else {
            (0, u32::MAX)
        };
        let probe_size = features
            .probe()
            .then(|| transport.config_u32(config::PROBE_SIZE));
        let granule = [Granule::FourKib, Granule::SixteenKib, Granule::SixtyFourKib]
            .into_iter()
            .find(|granule| mask != 0 && mask.trailing_zeros() <= granule.size_log2())
            .ok_or("pages of 64 KiB or less")?;
        if input.0 >= input.1 {
            return Err("addresses to map");
        }
        if domains.0 >= domains.1 {
            return Err("two domains");
        }
        if probe_size.is_some_and(|size| size > PROBE_BYTES_MAX) {
            return Err("properties (PROBE) of 64 KiB at most");
        }
        Ok(Self {
            granule,
            input,
            domains,
            probe_size,
        })
    }

    /// Bits of the last address that can be mapped.
    pub(super) fn address_bits(&self) -> u32 {
        u64::BITS - self.input.1.leading_zeros()
    }

    /// The records a domain may have: the unit walks none, so each is as good as another that is as wide.
    pub(super) fn shapes(&self) -> TableShapes {
        let whole = self.address_bits();
        let granule = self.granule;
        let bits = |levels: u32| granule.size_log2() + granule.index_bits() * levels;
        let needed = (1..MAX_LEVELS)
            .find(|&levels| bits(levels) >= whole)
            .unwrap_or(MAX_LEVELS);
        TableShapes::new((LEVELS_MIN.min(needed)..=needed).map(|levels| TableShape {
            levels: levels as u8,
            address_bits: bits(levels).min(whole) as u8,
        }))
    }

    /// The record of a shape.
    pub(super) fn geometry(&self, shape: TableShape) -> Option<Geometry> {
        let (levels, bits) = (shape.levels.into(), shape.address_bits.into());
        Some(Geometry::new(self.granule, levels, bits)).filter(|geometry| geometry.exists())
    }

    /// How many domains there are, as far as they have a [`DomainId`](crate::iommu::DomainId).
    pub(super) fn domain_ids(&self) -> u32 {
        (self.domains.1 - self.domains.0)
            .saturating_add(1)
            .min(1 << u16::BITS)
    }

    /// Addresses below those that can be mapped, and above them.
    pub(super) fn outside(&self) -> impl Iterator<Item = BusRange> {
        let (first, last) = self.input;
        let below = BusRange::new(BusAddr::new(0), first);
        let above = last
            .checked_add(1)
            .map(|end| BusRange::new(BusAddr::new(end), end.wrapping_neg()));
        [Some(below), above]
            .into_iter()
            .flatten()
            .flatten()
            .filter(|range| !range.is_empty())
    }
}

//! What a mapping shall be, as the calls of this module ask the route for it.

use crate::addr::DmaMask;
use crate::device::{Coherence, Limits};
use crate::map::attributes::{CpuSync, Need};
use crate::map::route::Alignment;
use crate::map::{AnyDirection, Attributes, Direction, MapFailure};
use crate::pagetable::{Grant, Permission};

/// How many pieces a mapping call takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One, physically contiguous.
    Single,
    /// One for the device, at bus addresses aligned to the power of two of bytes that holds it. In memory one or, behind
    /// an IOMMU, any number.
    AlignedBlock,
    /// Any number.
    Pieces,
}

impl Shape {
    pub(crate) fn alignment(self) -> Alignment {
        match self {
            Self::AlignedBlock => Alignment::ToOrder,
            Self::Single | Self::Pieces => Alignment::Convenient,
        }
    }
}

/// A boundary that one segment does not cross, and whether a mapping in one piece is held to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Kept where it can be: what is mapped is cut there for the device anyway.
    Preferred(u64),
    /// Kept, or the mapping is refused.
    Required(u64),
}

impl Boundary {
    /// One less than what no segment crosses a multiple of.
    pub(crate) fn mask(self) -> u64 {
        match self {
            Self::Preferred(mask) | Self::Required(mask) => mask,
        }
    }
}

/// What a mapping shall be.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// The bus addresses the device can use.
    pub(crate) mask: DmaMask,
    pub(crate) shape: Shape,
    pub(crate) direction: AnyDirection,
    pub(crate) attributes: Attributes,
    pub(crate) boundary: Boundary,
    /// The bits of a memory address that the bus address keeps.
    pub(crate) min_align_mask: u64,
}

impl Terms {
    #[inline]
    pub(crate) fn new(mask: DmaMask, shape: Shape, direction: impl Direction) -> Self {
        Self {
            mask,
            shape,
            direction: direction.any(),
            attributes: Attributes::NONE,
            boundary: Boundary::Preferred(u64::MAX),
            min_align_mask: 0,
        }
    }

    /// The same, on a device with `limits`.
    #[inline]
    #[must_use]
    pub(crate) fn within(mut self, limits: &Limits) -> Self {
        self.mask = self.mask.narrowed_to(limits.bus_last());
        match self.shape {
            // Aligned to its own size, which is more than either asks for.
            Shape::AlignedBlock => {}
            Shape::Single | Shape::Pieces => {
                self.boundary = match (self.shape, limits.boundary_of_driver()) {
                    (Shape::Single, Some(boundary)) => Boundary::Required(boundary),
                    _ => Boundary::Preferred(limits.segment_boundary()),
                };
                self.min_align_mask = limits.min_align_mask();
            }
        }
        self
    }

    #[inline]
    #[must_use]
    pub(crate) fn with(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Whether a device of this coherence can be given what the attributes ask for.
    #[inline]
    pub(crate) fn check_coherence(&self, coherence: Coherence) -> Result<(), MapFailure> {
        match (self.attributes.need, coherence) {
            (Need::Coherent, Coherence::NotSnooped) => Err(MapFailure::NotCoherent),
            _ => Ok(()),
        }
    }

    /// Whether mapping and unmapping maintain the caches of a CPU that a device of this coherence does not see.
    #[inline]
    pub(crate) fn maintains(&self, coherence: Coherence) -> bool {
        coherence == Coherence::NotSnooped && self.attributes.cpu_sync == CpuSync::Automatic
    }

    /// What the mapping's leaves say.
    #[inline]
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            privilege: self.attributes.privilege,
            ..self.permission().into()
        }
    }

    #[inline]
    pub(crate) fn permission(&self) -> Permission {
        self.direction.permission()
    }
}

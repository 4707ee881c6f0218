//! What a mapping shall be, as the calls of this module ask the route for it.

use crate::addr::DmaMask;
use crate::map::route::Alignment;
use crate::map::{AnyDirection, Attributes, Direction};
use crate::pagetable::Permission;

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

/// What a mapping shall be.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// The bus addresses the device can use.
    pub(crate) mask: DmaMask,
    pub(crate) shape: Shape,
    pub(crate) direction: AnyDirection,
    pub(crate) attributes: Attributes,
}

impl Terms {
    pub(crate) fn new(mask: DmaMask, shape: Shape, direction: impl Direction) -> Self {
        Self {
            mask,
            shape,
            direction: direction.any(),
            attributes: Attributes::NONE,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    pub(crate) fn permission(&self) -> Permission {
        self.direction.permission()
    }
}

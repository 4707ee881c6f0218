//! How a pool cuts its pages into blocks.

use crate::addr::FRAME_BYTES;
use crate::map::coherent::Shared;

/// Blocks that one page is cut into at most: what the bits of a page's record tell apart.
pub(super) const MAX_SLOTS: usize = 512;

/// Whether freed blocks are marked, and what is left of the mark looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Poison {
    #[default]
    Off,
    On,
}

/// What blocks a pool hands out.
///
/// ```
/// use dmamap::map::PoolLayout;
///
/// // 32 elements each, on multiples of 256 bytes, none across a multiple of 4096.
/// let layout = PoolLayout::of(32).align(256).boundary(4096);
/// # assert_ne!(layout, PoolLayout::of(32));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLayout {
    elements: usize,
    align_bytes: u64,
    boundary_bytes: u64,
    poison: Poison,
}

impl PoolLayout {
    /// Blocks of `elements` elements, at least 1, aligned as their type is.
    pub const fn of(elements: usize) -> Self {
        Self {
            elements,
            align_bytes: 1,
            boundary_bytes: 0,
            poison: Poison::Off,
        }
    }

    /// Bus addresses of blocks are multiples of `bytes`, a power of two.
    #[must_use]
    pub const fn align(mut self, bytes: u64) -> Self {
        self.align_bytes = bytes;
        self
    }

    /// No block lies on both sides of a bus address that is a multiple of `bytes`, a power of two that a block fits into;
    /// 0 sets no boundary.
    #[must_use]
    pub const fn boundary(mut self, bytes: u64) -> Self {
        self.boundary_bytes = bytes;
        self
    }

    /// Free blocks are filled with a pattern, and a block whose pattern was
    /// [disturbed](super::PoolFigures::disturbed) while it was free is counted and logged when it is handed out.
    #[must_use]
    pub const fn poison(mut self) -> Self {
        self.poison = Poison::On;
        self
    }
}

/// Blocks that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A block holds at least one byte.
    #[error("blocks of no bytes")]
    Empty,
    /// The block is longer than any memory.
    #[error("blocks of {elements} elements of {element_bytes} bytes cannot exist")]
    TooLong {
        /// Elements of a block.
        elements: usize,
        /// Bytes of one.
        element_bytes: usize,
    },
    /// Alignments are powers of two.
    #[error("blocks aligned to {align_bytes:#x} bytes: alignments are powers of two")]
    Alignment {
        /// What was asked for.
        align_bytes: u64,
    },
    /// The CPU sees pages aligned to frames.
    #[error("elements aligned to {align_bytes:#x} bytes: a frame's alignment is the strictest")]
    Element {
        /// What the elements' type needs.
        align_bytes: u64,
    },
    /// A boundary is a power of two that a block fits into.
    #[error(
        "blocks of {block_bytes:#x} bytes cannot keep to a boundary of {boundary_bytes:#x} bytes"
    )]
    Boundary {
        /// Bytes of a block with its alignment.
        block_bytes: u64,
        /// What was asked for.
        boundary_bytes: u64,
    },
}

/// A layout that was checked, in pages of one device.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub(super) elements: usize,
    /// From one block to the next.
    pub(super) block_bytes: u64,
    pub(super) page_bytes: u64,
    pub(super) slots: usize,
    pub(super) poison: Poison,
    /// Bytes within which blocks follow each other; where the next do not fit, the next such stretch begins.
    stretch_bytes: u64,
    per_stretch: u64,
}

impl Geometry {
    pub(super) fn of<T: Shared>(
        layout: PoolLayout,
        device_page_bytes: u64,
    ) -> Result<Self, LayoutError> {
        let PoolLayout {
            elements,
            align_bytes,
            boundary_bytes,
            poison,
        } = layout;
        let element_bytes = size_of::<T>();
        let too_long = LayoutError::TooLong {
            elements,
            element_bytes,
        };
        if !align_bytes.is_power_of_two() {
            return Err(LayoutError::Alignment { align_bytes });
        }
        let element_align = align_of::<T>() as u64;
        if element_align > FRAME_BYTES {
            return Err(LayoutError::Element {
                align_bytes: element_align,
            });
        }
        let align_bytes = align_bytes.max(element_align);
        let bytes = (element_bytes.checked_mul(elements)).ok_or(too_long)? as u64;
        if bytes == 0 {
            return Err(LayoutError::Empty);
        }
        let round = |bytes: u64, unit| bytes.checked_next_multiple_of(unit).ok_or(too_long);
        let block_bytes = round(bytes, align_bytes)?;
        let page_bytes = round(block_bytes, device_page_bytes)?;
        if page_bytes.checked_next_power_of_two().is_none() {
            return Err(too_long);
        }
        let stretch_bytes = match boundary_bytes {
            0 => page_bytes,
            _ if !boundary_bytes.is_power_of_two() || boundary_bytes < block_bytes => {
                return Err(LayoutError::Boundary {
                    block_bytes,
                    boundary_bytes,
                });
            }
            // Pages are aligned to their own order, so a wider boundary never lies inside one.
            _ => boundary_bytes.min(page_bytes),
        };
        let per_stretch = stretch_bytes / block_bytes;
        let slots = per_stretch * (page_bytes / stretch_bytes);
        Ok(Self {
            elements,
            block_bytes,
            page_bytes,
            slots: slots.min(MAX_SLOTS as u64) as usize,
            poison,
            stretch_bytes,
            per_stretch,
        })
    }

    /// Where in its page block `slot` begins, in bytes.
    pub(super) fn offset(&self, slot: usize) -> u64 {
        let slot = slot as u64;
        slot / self.per_stretch * self.stretch_bytes + slot % self.per_stretch * self.block_bytes
    }
}

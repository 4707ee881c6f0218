//! The two kinds of mappings that are measured, by the calls a driver makes.

use dmamap::addr::FRAME_BYTES;
use dmamap::buffer::{BufferError, DmaBuffer, ListError, ScatterList};
use dmamap::device::{Device, NotConfirmed};
use dmamap::map::{AnyDirection, MapError, Mapping, Quarantined, SgTableMapping};
use hosted::Hosted;

use super::load::Piece;

/// Why memory could not be lent, or did not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum LendError {
    /// There is none.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// There is none for the list of it.
    #[error(transparent)]
    List(#[from] ListError),
    /// It was not mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It was not unmapped.
    #[error(transparent)]
    Unmap(#[from] Quarantined),
    /// The device may still reach what was unmapped.
    #[error(transparent)]
    Flush(#[from] NotConfirmed),
}

/// A kind of mapping.
pub(super) trait Lend {
    /// What is mapped.
    type Memory: Send;
    /// A live mapping.
    type Mapping: Send;

    /// Memory for one mapping.
    fn allocate(device: &Device<Hosted>, piece: Piece) -> Result<Self::Memory, LendError>;

    /// Maps it.
    fn map(
        device: &Device<Hosted>,
        memory: Self::Memory,
        direction: AnyDirection,
    ) -> Result<Self::Mapping, LendError>;

    /// Takes it back.
    fn unmap(mapping: Self::Mapping) -> Result<Self::Memory, LendError>;
}

/// `map_single` of a contiguous buffer.
pub(super) struct Single;

impl Lend for Single {
    type Memory = DmaBuffer<Hosted>;
    type Mapping = Mapping<Hosted, DmaBuffer<Hosted>, AnyDirection>;

    fn allocate(device: &Device<Hosted>, piece: Piece) -> Result<Self::Memory, LendError> {
        Ok(DmaBuffer::allocate(device.platform(), piece.len_bytes())?)
    }

    fn map(
        device: &Device<Hosted>,
        memory: Self::Memory,
        direction: AnyDirection,
    ) -> Result<Self::Mapping, LendError> {
        let mapped = device.map_single(memory, direction);
        mapped.map_err(|refused| refused.error.into())
    }

    fn unmap(mapping: Self::Mapping) -> Result<Self::Memory, LendError> {
        Ok(mapping.unmap()?)
    }
}

/// `map_sgtable` of pages that lie apart.
pub(super) struct List;

impl Lend for List {
    type Memory = ScatterList<DmaBuffer<Hosted>>;
    type Mapping = SgTableMapping<Hosted, DmaBuffer<Hosted>, AnyDirection>;

    fn allocate(device: &Device<Hosted>, piece: Piece) -> Result<Self::Memory, LendError> {
        let pages = piece.len_bytes() / FRAME_BYTES;
        let mut list = ScatterList::with_room(pages as usize)?;
        for _ in 0..pages {
            // The second page is never lent: the next piece is not beside the first.
            let pair = DmaBuffer::allocate(device.platform(), 2 * FRAME_BYTES)?;
            let added = list.push_part(pair, 0, FRAME_BYTES);
            added.map_err(|refused| refused.error)?;
        }
        Ok(list)
    }

    fn map(
        device: &Device<Hosted>,
        memory: Self::Memory,
        direction: AnyDirection,
    ) -> Result<Self::Mapping, LendError> {
        let mapped = device.map_sgtable(memory, direction);
        mapped.map_err(|refused| refused.error.into())
    }

    fn unmap(mapping: Self::Mapping) -> Result<Self::Memory, LendError> {
        Ok(mapping.unmap()?)
    }
}

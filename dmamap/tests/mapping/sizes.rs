//! Handles are moved by whoever has them, into rings and out of them: they are small.

use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::map::{Bidirectional, Mapping, SgMapping};
use hosted::Hosted;

/// Bytes that a mapping may have beside its memory's handle.
const MOST: usize = 72;

#[test]
fn a_mapping_is_little_more_than_its_memory() {
    type Buffer = DmaBuffer<Hosted>;
    type Scattered = ScatteredBuffer<Hosted>;
    let single = size_of::<Mapping<Hosted, Buffer, Bidirectional>>();
    let pieces = size_of::<SgMapping<Hosted, Scattered, Bidirectional>>();
    assert!(single <= size_of::<Buffer>() + MOST, "{single}");
    assert!(pieces <= size_of::<Scattered>() + MOST, "{pieces}");
}

//! What may be done with a span, as its type says.

use core::fmt;

use super::IovaSpan;
use crate::buffer::DmaMemory;
use crate::map::direction::Direction;
use crate::map::error::MapError;
use crate::platform::Platform;

mod sealed {
    pub trait Sealed {}
}

/// What may be done with an [`IovaSpan`].
pub trait SpanState: sealed::Sealed {}

/// Memory may be linked; what is linked is not visible to the device.
#[derive(Debug)]
pub struct Unsynced;

/// All that is linked is visible to the device.
#[derive(Debug)]
pub struct Linked;

/// Nothing is linked, and the device reaches nothing.
#[derive(Debug)]
pub struct Unlinked;

impl sealed::Sealed for Unsynced {}
impl sealed::Sealed for Linked {}
impl sealed::Sealed for Unlinked {}
impl SpanState for Unsynced {}
impl SpanState for Linked {}
impl SpanState for Unlinked {}

/// A span that could not be synced, with the span.
pub struct NotSynced<P: Platform, B: DmaMemory, D: Direction> {
    /// Why.
    pub error: MapError,
    /// The span, as it was: its links can be taken back, or the sync tried again.
    pub span: IovaSpan<P, B, D, Unsynced>,
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for NotSynced<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotSynced")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Display for NotSynced<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> core::error::Error for NotSynced<P, B, D> {}

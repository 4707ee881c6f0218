//! Ranges whose owner is gone while a unit may still translate them: nobody gets them until it is known that none does.
//!
//! They stay in the tree, chained through their own nodes, so that keeping one needs no memory and cannot fail.

use super::tree::{Node, Use};
use super::{IovaError, IovaSpace};
use crate::addr::BusRange;
use crate::platform::Platform;

/// Some of a space's kept ranges. They stay kept whatever becomes of this.
#[derive(Default)]
pub(crate) struct KeptRanges(Option<Node>);

impl<P: Platform> IovaSpace<P> {
    /// Instead of [`free`](Self::free): nobody owns `range` any more, and it is not chosen again before
    /// [`release_kept`](Self::release_kept).
    ///
    /// # Errors
    /// As [`free`](Self::free); nothing has changed then.
    pub(crate) fn keep(&mut self, range: BusRange) -> Result<(), IovaError> {
        let (node, _) = self.allocated(range)?;
        let before = self.kept.0.replace(node);
        let extent = self.tree.extent_mut(node);
        extent.kind = Use::Kept;
        extent.next_kept = before;
        Ok(())
    }

    /// All ranges kept until now, for one of the two calls below.
    pub(crate) fn take_kept(&mut self) -> KeptRanges {
        core::mem::take(&mut self.kept)
    }

    /// Makes `kept`, which this space gave, free again.
    pub(crate) fn release_kept(&mut self, kept: KeptRanges) {
        let mut next = kept.0;
        while let Some(node) = next {
            let extent = *self.tree.extent_mut(node);
            next = extent.next_kept;
            self.remove(extent);
        }
    }

    /// Takes `kept`, which this space gave, back, to be given another time.
    pub(crate) fn return_kept(&mut self, kept: KeptRanges) {
        let Some(first) = kept.0 else { return };
        let mut last = first;
        while let Some(next) = self.tree.extent_mut(last).next_kept {
            last = next;
        }
        self.tree.extent_mut(last).next_kept = self.kept.0.replace(first);
    }
}

//! Memory on its way back from the device: taken out of its tables, but not lost to it before a flush.
//!
//! Several mappings that are retired one after the other share one flush, whoever asks for it first, so giving back a
//! batch costs few invalidation commands and one wait:
//!
//! ```
//! # use board as _;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::{FromDevice, Mapping, Quarantined};
//! use dmamap::platform::Platform;
//!
//! fn give_back<P: Platform>(
//!     done: Vec<Mapping<P, DmaBuffer<P>, FromDevice>>,
//! ) -> Result<Vec<DmaBuffer<P>>, Quarantined> {
//!     let retired: Vec<_> = done.into_iter().map(Mapping::retire).collect();
//!     // The first one flushes, for all; the others find that done.
//!     retired.into_iter().map(|one| one.finish()).collect()
//! }
//! ```

use core::fmt;
use core::mem::ManuallyDrop;

use crate::addr::BusRange;
use crate::buffer::DmaMemory;
use crate::map::direction::{DeviceWrites, Direction};
use crate::map::error::{MapError, Quarantined};
use crate::map::live::RetiredLive;
use crate::map::owned::Owned;
use crate::map::sg::SgMapping;
use crate::map::single::Mapping;
use crate::map::terms::Shape;
use crate::map::view::OutOfBounds;
use crate::map::window::copy_out;
use crate::platform::Platform;

/// Memory that was taken out of the device's tables, and that the device may reach until a flush. Owns the memory;
/// [`finish`](Self::finish) gives it back.
///
/// Forgetting it leaks the memory. Dropping it flushes, unless somebody did since it was retired, and drops the memory.
pub struct Retired<P: Platform, B: DmaMemory, D: Direction> {
    /// `None` only while it ends.
    parts: Option<(RetiredLive<P>, B)>,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> Retired<P, B, D> {
    pub(super) fn new(live: RetiredLive<P>, buffer: B, direction: D) -> Self {
        Self {
            parts: Some((live, buffer)),
            direction,
        }
    }

    fn parts(&self) -> &(RetiredLive<P>, B) {
        self.parts.as_ref().expect("only its end takes the parts")
    }

    fn take(&mut self) -> (RetiredLive<P>, B) {
        self.parts.take().expect("only its end takes the parts")
    }

    /// The bus addresses it was mapped at. They are not used again before the flush.
    pub fn range(&self) -> BusRange {
        self.parts().0.range()
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.parts().1.len_bytes()
    }

    /// Whether [`finish`](Self::finish) needs not wait: a flush has covered it, or never will.
    pub fn is_settled(&self) -> bool {
        self.parts().0.is_settled()
    }

    /// Gives the memory back, after a flush if none has covered it yet: one for all that was retired before. When this
    /// returns the buffer the device cannot reach it any more.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that; the memory is then kept until it does.
    pub fn finish(mut self) -> Result<B, Quarantined> {
        let (live, buffer) = self.take();
        live.finish_owned(buffer)
    }

    /// As [`finish`](Self::finish), but only if that needs not wait.
    ///
    /// # Errors
    /// The value as it is, if no flush has covered it yet.
    pub fn try_finish(self) -> Result<Result<B, Quarantined>, Self> {
        if self.is_settled() {
            Ok(self.finish())
        } else {
            Err(self)
        }
    }

    /// Copies what the device wrote, from byte `offset` on. It may be writing still.
    ///
    /// # Errors
    /// [`OutOfBounds`] if that leaves the memory; nothing is copied.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfBounds>
    where
        D: DeviceWrites,
    {
        let (live, buffer) = self.parts();
        OutOfBounds::check(live.device(), offset, into.len() as u64, buffer.len_bytes())?;
        let (start, len) = (buffer.pointer(), into.len() as u64);
        // Others may be reading as well.
        live.see_device_writes(start, offset, len);
        let mut done = 0;
        live.device_side(start, offset, len, |from, len| {
            let end = done + len as usize;
            // SAFETY: in bounds; the memory is this value's, and only accessed by volatile copies until it ends.
            unsafe { copy_out(from, &mut into[done..end]) };
            done = end;
        });
        Ok(())
    }

    /// Lends the memory to the same device once more, without the CPU having had it, so no flush is waited for. Until one
    /// covers what was retired the device may also reach it at the old addresses, in the old direction. It comes back
    /// when the device has lost it there, too.
    ///
    /// # Errors
    /// [`NotMappedAgain`].
    #[expect(
        clippy::result_large_err,
        reason = "the memory comes back in it, and nothing here may allocate"
    )]
    pub fn remap<D2: Direction>(
        self,
        direction: D2,
    ) -> Result<Mapping<P, B, D2>, NotMappedAgain<P, B, D>> {
        self.lend_again(Shape::Single, direction)
            .map(Mapping::from_owned)
    }

    /// As [`remap`](Self::remap), in however many pieces the memory is.
    ///
    /// # Errors
    /// As [`remap`](Self::remap).
    #[expect(
        clippy::result_large_err,
        reason = "the memory comes back in it, and nothing here may allocate"
    )]
    pub fn remap_sg<D2: Direction>(
        self,
        direction: D2,
    ) -> Result<SgMapping<P, B, D2>, NotMappedAgain<P, B, D>> {
        self.lend_again(Shape::Pieces, direction)
            .map(SgMapping::from_owned)
    }

    #[expect(
        clippy::result_large_err,
        reason = "the memory comes back in it, and nothing here may allocate"
    )]
    fn lend_again<D2: Direction>(
        mut self,
        shape: Shape,
        direction: D2,
    ) -> Result<Owned<P, B, D2>, NotMappedAgain<P, B, D>> {
        let (mut old, buffer) = self.take();
        // Should anything panic, the memory is leaked.
        let buffer = ManuallyDrop::new(buffer);
        if let Err(error) = old.end_copies(&*buffer) {
            let buffer = ManuallyDrop::into_inner(buffer);
            return Err(NotMappedAgain {
                error: old.not_ended(&buffer, error),
                retired: Some(Self::new(old, buffer, self.direction)),
            });
        }
        match old.establish_again(&*buffer, shape, direction) {
            Ok(live) => Ok(Owned::from_parts(live, buffer, direction)),
            Err(error) => Err(NotMappedAgain {
                error,
                retired: match error.undo() {
                    Some(undo) => {
                        old.keep_not_mapped_again(buffer, undo);
                        None
                    }
                    None => {
                        let buffer = ManuallyDrop::into_inner(buffer);
                        Some(Self::new(old, buffer, self.direction))
                    }
                },
            }),
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for Retired<P, B, D> {
    fn drop(&mut self) {
        if let Some((live, buffer)) = self.parts.take()
            && let Err(error) = live.finish_owned(buffer)
        {
            log::error!("{error}");
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for Retired<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retired({:?} {:?})", self.range(), self.direction)
    }
}

/// Retired memory that could not be mapped again.
pub struct NotMappedAgain<P: Platform, B: DmaMemory, D: Direction> {
    /// Why.
    pub error: MapError,
    /// The memory as it was; `None` only where the device may reach it
    /// [through the new mapping](MapError::leaves_memory_reachable).
    pub retired: Option<Retired<P, B, D>>,
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for NotMappedAgain<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotMappedAgain")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Display for NotMappedAgain<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> core::error::Error for NotMappedAgain<P, B, D> {}

//! Mapping in two steps: bus addresses are chosen once, memory is linked to them piece by piece, and one sync makes all of it
//! visible to the device (`dma_iova_try_alloc`, `dma_iova_link`, `dma_iova_sync`).
//!
//! Who has many small pieces, or does not know them all at once, pays for choosing addresses and for telling the hardware once.
//! What may be done when is the span's type, [`IovaSpan`].
//!
//! ```
//! # use board as _;
//! use dmamap::buffer::{DmaBuffer, ScatterList};
//! use dmamap::map::ToDevice;
//! # fn example<P: dmamap::platform::Platform>(device: &dmamap::device::Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut pieces = Vec::new();
//! for _ in 0..8 {
//!     pieces.push(DmaBuffer::allocate(device.platform(), 4096)?);
//! }
//! let first = pieces[0].phys(0).ok_or("empty")?;
//! let room = ScatterList::with_room(pieces.len())?;
//! let mut span = device.iova_try_alloc(first, 8 * 4096, room, ToDevice).map_err(|refused| refused.error)?;
//! for piece in pieces {
//!     span.link(piece).map_err(|refused| refused.error)?;
//! }
//! let span = span.sync().map_err(|refused| refused.error)?;
//! // … tell the device `span.range()` and wait until it has finished …
//! let (span, pieces) = span.unlink()?;
//! span.free();
//! assert_eq!(pieces.len(), 8);
//! # Ok(())
//! # }
//! ```
#![expect(
    clippy::result_large_err,
    reason = "errors give memory back, and none may be allocated for them"
)]
#![expect(
    clippy::type_complexity,
    reason = "the state is part of the type, and spelled out where it changes"
)]

mod parts;
mod raw;
mod reserved;
mod state;

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use crate::addr::{BusAddr, BusRange, PhysAddr};
use crate::buffer::{DmaMemory, ListError, ScatterList};
use crate::device::Device;
use crate::map::direction::Direction;
use crate::map::error::{MapFailure, Quarantined, Rejected};
use crate::map::establish::check_owner;
use crate::map::establish::fail;
use crate::map::list_view::ListView;
use crate::map::terms::{Shape, Terms};
use crate::map::{Asked, Attributes, OutOfBounds};
use crate::platform::Platform;
use parts::Parts;
use reserved::Reserved;

pub use raw::RawIovaSpan;
pub use state::{Linked, NotSynced, SpanState, Unlinked, Unsynced};

impl<P: Platform> Device<P> {
    /// Chooses bus addresses for `len_bytes` bytes that will be linked to them later (`dma_iova_try_alloc`). `first` is where
    /// the first byte will lie in memory: its offset in a page will be that of the first bus address. `links` is an
    /// empty list with room for as many links as there will be.
    ///
    /// # Errors
    /// [`Rejected`] gives the list back. [`MapFailure::NotTranslated`] where no IOMMU translates for the device: then each
    /// piece is mapped by itself.
    pub fn iova_try_alloc<B: DmaMemory, D: Direction>(
        &self,
        first: PhysAddr,
        len_bytes: u64,
        links: ScatterList<B>,
        direction: D,
    ) -> Result<IovaSpan<P, B, D, Unsynced>, Rejected<ScatterList<B>>> {
        self.iova_try_alloc_attrs(first, len_bytes, links, direction, Attributes::NONE)
    }

    /// As [`iova_try_alloc`](Self::iova_try_alloc), with more asked of all that will be linked.
    ///
    /// # Errors
    /// As [`iova_try_alloc`](Self::iova_try_alloc), and where what `attributes` ask for cannot be had.
    pub fn iova_try_alloc_attrs<B: DmaMemory, D: Direction>(
        &self,
        first: PhysAddr,
        len_bytes: u64,
        links: ScatterList<B>,
        direction: D,
        attributes: Attributes,
    ) -> Result<IovaSpan<P, B, D, Unsynced>, Rejected<ScatterList<B>>> {
        let terms = Terms::new(self.mask(), Shape::Pieces, direction).with(attributes);
        let reserved = match links.len() {
            0 => Reserved::try_alloc(self, first, len_bytes, terms),
            len => Err(fail(
                self,
                Asked::from(first, len_bytes),
                ListError::NotEmpty { len }.into(),
            )),
        };
        match reserved {
            Ok(reserved) => Ok(IovaSpan::new(reserved, links, direction)),
            Err(error) => Err(Rejected {
                error,
                buffer: Some(links),
            }),
        }
    }
}

/// Bus addresses of one device, and the memory linked to them.
///
/// What may be done when is the type's last parameter:
///
/// ```text
///   iova_try_alloc ──► Unsynced ── sync ──► Linked: usable
///                      link │ ▲ ◄─ extend ──┘  │
///                           │ └── relink ──┐   │
///                           └── unlink ──► Unlinked ── free
/// ```
///
/// Only a [`Linked`] span tells its bus addresses, and only an [`Unlinked`] one is freed. A span owns what is linked to it, in
/// a [`ScatterList`] whose room was made before. Dropping a span unlinks and frees it.
pub struct IovaSpan<P: Platform, B: DmaMemory, D: Direction, S: SpanState> {
    /// `None` only while a call that ends this state runs.
    parts: Option<Parts<P, B>>,
    direction: D,
    state: PhantomData<S>,
}

impl<P: Platform, B: DmaMemory, D: Direction, S: SpanState> IovaSpan<P, B, D, S> {
    fn parts(&self) -> &Parts<P, B> {
        self.parts
            .as_ref()
            .expect("only calls that end a state take the parts")
    }

    /// Bytes for which there are addresses.
    pub fn len_bytes(&self) -> u64 {
        self.parts().reserved.len_bytes()
    }

    /// Number of links.
    pub fn links(&self) -> usize {
        self.parts().links.len()
    }

    /// Bytes that are linked.
    pub fn linked_bytes(&self) -> u64 {
        self.parts().links.len_bytes()
    }

    /// The direction of all links.
    pub fn direction(&self) -> D {
        self.direction
    }

    fn into_parts(mut self) -> Parts<P, B> {
        self.parts
            .take()
            .expect("only calls that end a state take the parts")
    }

    /// The same parts in another state.
    fn become_state<T: SpanState>(self) -> IovaSpan<P, B, D, T> {
        let direction = self.direction;
        IovaSpan {
            parts: Some(self.into_parts()),
            direction,
            state: PhantomData,
        }
    }

    fn unlink_all(self) -> Result<(IovaSpan<P, B, D, Unlinked>, ScatterList<B>), Quarantined> {
        let direction = self.direction;
        let (reserved, links) = self.into_parts().unlink()?;
        let nothing = ScatterList::with_room(0).expect("no room takes no memory");
        let span = IovaSpan::new(reserved, nothing, direction).become_state();
        Ok((span, links))
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Unsynced> {
    fn new(reserved: Reserved<P>, links: ScatterList<B>, direction: D) -> Self {
        Self {
            parts: Some(Parts::new(reserved, links)),
            direction,
            state: PhantomData,
        }
    }

    /// Links all of `buffer` after what is linked already (`dma_iova_link`).
    ///
    /// # Errors
    /// As [`link_part`](Self::link_part).
    pub fn link(&mut self, buffer: B) -> Result<(), Rejected<B>> {
        let len_bytes = buffer.len_bytes();
        self.link_part(buffer, 0, len_bytes)
    }

    /// Links the `len_bytes` bytes from byte `offset` of `buffer` on after what is linked already. Inside the span links begin
    /// and end on page boundaries. A device that nobody vouched for is given copies of what lies in pages that the buffer
    /// [shares](crate::buffer::Frames::Shared) with others, which are the span's first and last.
    ///
    /// # Errors
    /// [`Rejected`] gives the buffer back: [`MapFailure::InteriorEdge`] for one that would leave part of a page between
    /// itself and its neighbour, [`MapFailure::OutsideSpan`], [`MapFailure::List`] where the list has no room,
    /// [`MapFailure::NotWholePages`] for one in pieces that are not whole pages of the IOMMU inside it, and those of copies.
    pub fn link_part(&mut self, buffer: B, offset: u64, len_bytes: u64) -> Result<(), Rejected<B>> {
        let taken = self.parts.take();
        // Until the outcome is known the device may reach the memory: should anything panic, it is leaked.
        let mut parts =
            ManuallyDrop::new(taken.expect("only calls that end a state take the parts"));
        let outcome = Self::try_link(&mut parts, buffer, offset, len_bytes);
        self.parts = Some(ManuallyDrop::into_inner(parts));
        outcome
    }

    fn try_link(
        parts: &mut Parts<P, B>,
        buffer: B,
        offset: u64,
        len_bytes: u64,
    ) -> Result<(), Rejected<B>> {
        let rejected = |error, buffer| Rejected {
            error,
            buffer: Some(buffer),
        };
        let held = parts.reserved.held();
        let owned = check_owner(held.core(), &buffer, buffer.segment(0));
        let owned = owned.map_err(|failure| held.core().not_mapped(Asked::of(&buffer), failure));
        if let Err(error) = owned {
            return Err(rejected(error, buffer));
        }
        if let Err(refused) = parts.links.push_part(buffer, offset, len_bytes) {
            let asked = Asked::of(&refused.buffer);
            let error = parts.reserved.error(asked, refused.error.into());
            return Err(rejected(error, refused.buffer));
        }
        parts.link_last().map_err(|error| {
            debug_assert!(
                !error.leaves_memory_reachable(),
                "a link that failed was made in no table a unit walks: {error}"
            );
            let last = parts.links.pop().expect("it was just pushed");
            rejected(error, last.into_buffer())
        })
    }

    /// Makes all links visible to the device (`dma_iova_sync`).
    ///
    /// # Errors
    /// [`NotSynced`] gives the span back: nothing was linked, or the unit did not confirm in time.
    pub fn sync(mut self) -> Result<IovaSpan<P, B, D, Linked>, NotSynced<P, B, D>> {
        let parts = self
            .parts
            .as_mut()
            .expect("only calls that end a state take the parts");
        let new_bytes = parts.links.len_bytes() - parts.synced_bytes;
        let outcome = match parts.links.len_bytes() {
            0 => Err(MapFailure::Empty),
            _ if new_bytes == 0 => Ok(()),
            _ => parts.reserved.sync(parts.synced_bytes, new_bytes),
        };
        match outcome {
            Ok(()) => {
                parts.synced_bytes += new_bytes;
                Ok(self.become_state())
            }
            Err(failure) => {
                let error = parts.reserved.error(Asked::bytes(new_bytes), failure);
                Err(NotSynced { error, span: self })
            }
        }
    }

    /// Takes all links back, whether they were synced or not.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm; memory and addresses are then never used again.
    pub fn unlink(self) -> Result<(IovaSpan<P, B, D, Unlinked>, ScatterList<B>), Quarantined> {
        self.unlink_all()
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Linked> {
    /// Z of the first linked byte: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses that memory is linked to.
    pub fn range(&self) -> BusRange {
        self.parts().linked()
    }

    /// Whether syncs of this memory do more than order accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.parts().syncs().need_sync()
    }

    /// Lets the CPU read or write `len_bytes` bytes from byte `offset` of the span on, while the device is not using them;
    /// dropping the view hands them back.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave what is linked.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<ListView<'_, P, B, D>, OutOfBounds> {
        let parts = self
            .parts
            .as_mut()
            .expect("only calls that end a state take the parts");
        let (syncs, links) = parts.syncs_and_links();
        ListView::part(syncs, links, offset, len_bytes)
    }

    /// Goes on to link more; what the device was told stays true.
    pub fn extend(self) -> IovaSpan<P, B, D, Unsynced> {
        self.become_state()
    }

    /// Takes all links back (`dma_iova_unlink`). When this returns the list the device cannot reach its memory any more.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm; memory and addresses are then never used again.
    pub fn unlink(self) -> Result<(IovaSpan<P, B, D, Unlinked>, ScatterList<B>), Quarantined> {
        self.unlink_all()
    }

    /// Takes all links back and gives the addresses back (`dma_iova_destroy`).
    ///
    /// # Errors
    /// As [`unlink`](Self::unlink).
    pub fn destroy(self) -> Result<ScatterList<B>, Quarantined> {
        let (span, links) = self.unlink_all()?;
        span.free();
        Ok(links)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Unlinked> {
    /// Gives the addresses back (`dma_iova_free`).
    pub fn free(self) {
        self.into_parts().reserved.free();
    }

    /// Goes on to link memory again; `links` is an empty list with room for it.
    ///
    /// # Errors
    /// The list, if it is not empty. The addresses are given back then.
    pub fn relink(
        self,
        links: ScatterList<B>,
    ) -> Result<IovaSpan<P, B, D, Unsynced>, Rejected<ScatterList<B>>> {
        let direction = self.direction;
        let reserved = self.into_parts().reserved;
        match links.len() {
            0 => Ok(IovaSpan::new(reserved, links, direction)),
            len => {
                let asked = Asked::bytes(reserved.len_bytes());
                let error = reserved.error(asked, ListError::NotEmpty { len }.into());
                reserved.free();
                Err(Rejected {
                    error,
                    buffer: Some(links),
                })
            }
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction, S: SpanState> Drop for IovaSpan<P, B, D, S> {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        match parts.unlink() {
            Ok((reserved, links)) => {
                reserved.free();
                drop(links);
            }
            Err(error) => log::error!("{error}"),
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction, S: SpanState> fmt::Debug for IovaSpan<P, B, D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IovaSpan({} of {} bytes linked, {:?})",
            self.linked_bytes(),
            self.len_bytes(),
            self.direction
        )
    }
}

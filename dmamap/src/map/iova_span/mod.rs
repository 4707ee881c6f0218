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

mod raw;
mod reserved;

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, PhysAddr};
use crate::buffer::{DmaMemory, Frames, ListError, ScatterList};
use crate::device::Device;
use crate::map::Backing;
use crate::map::direction::Direction;
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::establish::check_owner;
use crate::map::establish::fail;
use crate::map::list_view::ListView;
use crate::map::terms::{Shape, Terms};
use crate::map::{Asked, Attributes, OutOfBounds};
use crate::platform::Platform;
use reserved::Reserved;

pub use raw::RawIovaSpan;

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

/// The span's addresses and what is linked to them, from the first on without gaps.
struct Parts<P: Platform, B: DmaMemory> {
    reserved: Reserved<P>,
    links: ScatterList<B>,
    /// Bytes of `links` that the device was shown.
    synced_bytes: u64,
}

impl<P: Platform, B: DmaMemory> Parts<P, B> {
    fn linked(&self) -> BusRange {
        self.reserved
            .range(0, self.links.len_bytes())
            .expect("links are inside the span")
    }

    /// Links the last entry of the list, which is not linked yet.
    fn link_last(&mut self) -> Result<(), MapError> {
        let index = self.links.len() - 1;
        let len_bytes = self.links.entries()[index].len_bytes();
        let offset = self.links.len_bytes() - len_bytes;
        self.reserved.syncs().before_map(&self.links, index);
        let mut pieces = self.links.pieces_from(index);
        let first = pieces.next().expect("an entry has a byte");
        self.reserved
            .link(offset, first, len_bytes, &mut pieces)
            .map_err(|failure| {
                let asked = Asked::from(first.start(), len_bytes);
                self.reserved.error(asked, failure)
            })
    }

    /// Takes back all links; the list comes back, or goes into the device's quarantine; the addresses are lost then.
    fn unlink(self) -> Result<(Reserved<P>, ScatterList<B>), Quarantined> {
        let links = ManuallyDrop::new(self.links);
        let mut reserved = ManuallyDrop::new(self.reserved);
        let len_bytes = links.len_bytes();
        if len_bytes > 0 {
            let range = reserved
                .range(0, len_bytes)
                .expect("links are inside the span");
            let pages = reserved.pages_of(range);
            if let Err(error) = reserved.unlink(pages) {
                let core = reserved.held().core();
                let device = core.requester;
                core.keep_from_use(links, len_bytes, Backing::InPlace, error);
                // The mapping is over; its addresses are never given back.
                drop(ManuallyDrop::into_inner(reserved));
                return Err(Quarantined {
                    device,
                    range,
                    error,
                });
            }
            reserved.syncs().after_unmap(&links);
        }
        Ok((
            ManuallyDrop::into_inner(reserved),
            ManuallyDrop::into_inner(links),
        ))
    }
}

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
            parts: Some(Parts {
                reserved,
                links,
                synced_bytes: 0,
            }),
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
    /// and end on page boundaries.
    ///
    /// # Errors
    /// [`Rejected`] gives the buffer back: [`MapFailure::InteriorEdge`] for one that would leave part of a page between
    /// itself and its neighbour, [`MapFailure::OutsideSpan`], [`MapFailure::List`] where the list has no room, [`MapFailure::NotWholePages`]
    /// for one that shares its frames with others.
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
        if let Err(error) = check_owner(held.core(), &buffer) {
            return Err(rejected(error, buffer));
        }
        // Links are never copied.
        if buffer.frames() == Frames::Shared {
            let failure = MapFailure::NotWholePages {
                memory: buffer.segment(0),
                page_bytes: FRAME_BYTES,
            };
            return Err(rejected(
                parts.reserved.error(Asked::of(&buffer), failure),
                buffer,
            ));
        }
        if let Err(refused) = parts.links.push_part(buffer, offset, len_bytes) {
            let asked = Asked::of(&refused.buffer);
            let error = parts.reserved.error(asked, refused.error.into());
            return Err(rejected(error, refused.buffer));
        }
        parts.link_last().map_err(|error| {
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
        self.parts().reserved.syncs().need_sync()
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
        ListView::part(parts.reserved.syncs(), &mut parts.links, offset, len_bytes)
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

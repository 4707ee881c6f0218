//! The DMA API: Y → Z.
//!
//! | call | memory | neighbours |
//! |---|---|---|
//! | [`map_single`](crate::device::Device::map_single) | owned, physically contiguous | `single` |
//! | [`map_sg`](crate::device::Device::map_sg) | owned, in pieces | `sg` |
//! | [`map_sgtable`](crate::device::Device::map_sgtable) | a list of owned buffers, or of parts of them | `sgtable` |
//! | [`iova_try_alloc`](crate::device::Device::iova_try_alloc) | owned buffers, linked one by one | `iova_span` |
//! | [`Lane`] | owned, mapped and unmapped by one owner alone, as a ring is | `lane` |
//! | [`Mapping::retire`] | owned, on its way back, several with one flush | `retired` |
//! | [`BufferPool`] | blocks that stay mapped while they change hands | `buffer_pool` |
//! | [`map_within`](crate::device::Device::map_within) | borrowed for a closure | `scoped` |
//! | [`alloc_coherent`](crate::device::Device::alloc_coherent) | shared with the device for long | `coherent` |
//! | [`UnmanagedDomain`] | anything, at bus addresses of the caller's choice | `unmanaged` |
//! | [`map_resource`](crate::device::Device::map_resource) | none: another device's registers | `resource` |
//! | [`map_registers`](crate::device::Device::map_registers) | none: registers on the system's own bus | `registers` |
//! | [`map_phys`](crate::device::Device::map_phys) and others | anything, unsafe | `raw` |
//!
//! Each asks the device's route for bus addresses: none (`Blocked`), those the host bridge gives memory
//! (`direct`), or ones chosen for the device alone and recorded in I/O page tables (`translated`). Where the device does not
//! reach the memory, or may not, the route gives it a copy instead ([`bounce`](crate::bounce)): drivers do not notice.
//!
//! A mapping owns its memory, so while the device may write it nobody holds a reference to it; `unmap`
//! returns the memory once the device cannot reach it. Where the IOMMU does not confirm that, it
//! returns [`Quarantined`] instead, and keeps the memory until the IOMMU does
//! ([`Device::recover`](crate::device::Device::recover)).
//!
//! ```
//! use dmamap::device::Device;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::ToDevice;
//! # use board as _;
//!
//! fn send<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut buffer = DmaBuffer::allocate(device.platform(), 4096)?;
//!     buffer.as_mut_slice()[0] = 1;
//!     let mapping = device.map_single(buffer, ToDevice).map_err(|rejected| rejected.error)?;
//!     // … tell the device `mapping.bus_addr()` and wait until it has finished …
//!     let _buffer = mapping.unmap()?;
//!     Ok(())
//! }
//! ```

mod as_it_is;
mod asked;
mod at_once;
mod attributes;
mod backing;
mod buffer_pool;
mod coherent;
mod copies;
mod direct;
mod direction;
mod earlier;
mod edges;
mod error;
mod establish;
mod given;
mod iova_span;
mod lane;
mod lane_raw;
mod list_syncs;
mod list_view;
mod live;
mod live_list;
mod owned;
mod place;
mod plain;
mod pooled;
mod raw;
mod registers;
mod resource;
mod retired;
mod route;
mod runs;
mod scoped;
mod segments;
mod sg;
mod sgtable;
mod single;
mod terms;
mod translated;
mod uncached;
mod unmanaged;
mod view;
mod window;

pub use crate::pagetable::Permission;
pub use asked::Asked;
pub use attributes::Attributes;
pub use buffer_pool::{BufferPool, BufferPoolError, BufferPoolFailure, PooledBuffer};
pub use coherent::{
    AtomicBlock, AtomicDestroyError, AtomicPool, AtomicPoolError, AtomicPoolFigures, Coherent,
    CoherentError, CoherentFailure, CoherentOptions, DeclareError, DeclaredFull, Descriptors,
    DestroyError, DmaPool, Elements, FlagWord, LayoutError, Noncoherent, Noncontiguous, Opaque,
    PoolBlock, PoolError, PoolFigures, PoolLayout, Published, Shared,
};
pub use direction::{
    AnyDirection, Bidirectional, DeviceReads, DeviceWrites, Direction, FromDevice, ToDevice,
};
pub use error::{MapError, MapFailure, Quarantined, Rejected};
pub use iova_span::{IovaSpan, Linked, NotSynced, RawIovaSpan, SpanState, Unlinked, Unsynced};
pub use lane::Lane;
pub use list_view::ListView;
pub use raw::RawSyncError;
pub use resource::ResourceMapping;
pub use retired::{NotMappedAgain, Retired};
pub use scoped::ScopedMapping;
pub use sg::SgMapping;
pub use sgtable::SgTableMapping;
pub use single::Mapping;
pub use unmanaged::{NotUnmanaged, Refused, UnmanagedDomain, UnmanagedError};
pub use view::{CpuView, OutOfBounds, Outside};

pub(crate) use backing::Backing;
pub(crate) use coherent::{CoherentSources, Ground};
pub(crate) use copies::CopyReach;
pub(crate) use direct::Direct;
pub(crate) use earlier::EarlierMappings;
pub(crate) use route::Route;

//! Memory a device may be given, and what that proves: X → Y.
//!
//! The safe API maps only memory whose type implements [`DmaMemory`]: owned, of the machine's RAM, at a place that
//! does not change. [`DmaBuffer`] is physically contiguous (`kmalloc`), [`ScatteredBuffer`] contiguous for the CPU only
//! (`vmalloc`), both of whole frames; a [`ContiguousArea`] keeps what the first needs much of, a [`PackedBuffer`] shares
//! its frame with others, and a [`ScatterList`] holds parts of several. While such a buffer is mapped the mapping
//! owns it, so no reference to memory that a device may write exists; `unmap` gives it back.
//!
//! ```
//! # use board as _;
//! # fn example<P: dmamap::platform::Platform>(platform: P) -> Result<(), dmamap::buffer::BufferError> {
//! use dmamap::buffer::{DmaBuffer, DmaMemory};
//!
//! let mut buffer = DmaBuffer::allocate(platform, 6000)?;
//! buffer.as_mut_slice()[..5].copy_from_slice(b"hello");
//! // X is a CPU address; Y is where it lies, and its frames are this buffer's alone.
//! assert_eq!(buffer.segment(0).len_bytes(), 6000);
//! # Ok(())
//! # }
//! ```

mod area;
mod bytes;
mod contiguous;
mod list;
mod packed;
mod scattered;

use alloc::boxed::Box;
use core::ptr::NonNull;

use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange, VirtAddr};
use crate::platform::{OutOfFrames, VirtualMapError};

pub use area::{AreaFigures, ContiguousArea};
pub use contiguous::DmaBuffer;
pub use list::{ListEntry, ListError, NotAdded, ScatterList};
pub use packed::{PackedBuffer, PackedFrames};
pub use scattered::ScatteredBuffer;

/// Why a buffer could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// A buffer holds at least one byte.
    #[error("a DMA buffer of 0 bytes cannot be mapped")]
    Empty,
    /// The length does not fit the machine's addresses.
    #[error("a DMA buffer of {len_bytes:#x} bytes cannot exist on this machine")]
    TooLong {
        /// Bytes asked for.
        len_bytes: u64,
    },
    /// The platform has no such frames left.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
    /// A contiguous area has no run of free frames left that is long enough and within the request.
    #[error("no room left for {len_bytes:#x} bytes in the contiguous area at {area}")]
    AreaFull {
        /// Bytes asked for.
        len_bytes: u64,
        /// The area.
        area: PhysRange,
    },
    /// The heap has no room to note down blocks of memory.
    #[error("no memory to note down blocks of {len_bytes:#x} bytes")]
    NoRecord {
        /// Bytes of a block.
        len_bytes: u64,
    },
    /// The platform cannot map scattered frames side by side.
    #[error(transparent)]
    Virtual(#[from] VirtualMapError),
}

/// Whose the frames are that some memory touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// The memory's alone: a device that reaches all of a frame reaches nothing else.
    Whole,
    /// Others' memory may lie in its first and last frame. A device that nobody vouched for is given copies of what lies
    /// there.
    Shared,
}

/// Memory that a mapping may own and a device may reach.
///
/// # Safety
/// An implementer promises, for as long as the value lives and wherever it is moved to:
/// - every byte from [`virt`](Self::virt) on for [`len_bytes`](Self::len_bytes) is readable and writable by
///   the CPU, and [`segment`](Self::segment) tells which physical memory it is;
/// - the value owns every frame it touches whole, so that a device that reaches the whole page reaches nothing else,
///   unless [`frames`](Self::frames) says [`Frames::Shared`]; and then it owns those between the first and the last;
/// - all CPU access to the memory goes through the value, so that moving the value into a mapping ends
///   every reference to the memory;
/// - forgetting the value leaks the memory and never reuses it.
pub unsafe trait DmaMemory: Send + 'static {
    /// Number of bytes a device may be given; at least 1.
    fn len_bytes(&self) -> u64;

    /// Whose the frames are that the memory touches. The same at each call.
    fn frames(&self) -> Frames {
        Frames::Whole
    }

    /// X: where the CPU sees the first byte; a frame's first byte where the frames are whole.
    fn virt(&self) -> VirtAddr;

    /// The pointer behind [`virt`](Self::virt), with leave to access all bytes.
    fn pointer(&self) -> NonNull<u8>;

    /// Y: the physically contiguous run of this memory from byte `offset` on, up to the memory's end or that of a frame.
    /// Empty where `offset` is at or past the end.
    fn segment(&self, offset: u64) -> PhysRange;
}

// SAFETY: the box is the only way to the value, which never moves while it is boxed; each promise is the value's own.
unsafe impl<B: DmaMemory + ?Sized> DmaMemory for Box<B> {
    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }

    fn frames(&self) -> Frames {
        (**self).frames()
    }

    fn virt(&self) -> VirtAddr {
        (**self).virt()
    }

    fn pointer(&self) -> NonNull<u8> {
        (**self).pointer()
    }

    fn segment(&self, offset: u64) -> PhysRange {
        (**self).segment(offset)
    }
}

/// Number of frames that `len_bytes` bytes from a frame's start touch.
fn frames_for(len_bytes: u64) -> Result<usize, BufferError> {
    if len_bytes == 0 {
        return Err(BufferError::Empty);
    }
    usize::try_from(len_bytes.div_ceil(FRAME_BYTES))
        .ok()
        .filter(|frames| {
            frames
                .checked_mul(FRAME_BYTES as usize)
                .is_some_and(|n| n <= isize::MAX as usize)
        })
        .ok_or(BufferError::TooLong { len_bytes })
}

/// Y: the physical address of byte `offset` of `memory`, or `None` past the end.
fn phys_at(memory: &impl DmaMemory, offset: u64) -> Option<PhysAddr> {
    (offset < memory.len_bytes()).then(|| memory.segment(offset).start())
}

//! Small blocks that share frames, as `kmalloc`'s do.
//!
//! A driver that needs many small buffers wastes most of a frame on each [`DmaBuffer`](crate::buffer::DmaBuffer). Blocks
//! of a [`PackedFrames`] lie side by side. A device that nobody vouched for never sees a block's neighbours: behind an
//! IOMMU it is given copies of what lies in shared pages ([`bounce`](crate::bounce)).

use core::fmt;
use core::ptr::NonNull;

use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bytes::Bytes;
use super::{BufferError, DmaMemory, Frames};
use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange, VirtAddr};
use crate::platform::{FrameRequest, Platform};

/// Under a lock that interrupts may be off for: neither list grows there.
struct Blocks {
    frames: Vec<PhysRange>,
    /// Has room for every block of all frames, so that each finds its place when it comes back.
    free: Vec<PhysAddr>,
}

impl Blocks {
    fn empty() -> Self {
        Self {
            frames: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Empty lists with room for `frames` frames of `blocks_each` blocks.
    fn with_room(frames: usize, blocks_each: usize) -> Result<Self, TryReserveError> {
        let mut this = Self::empty();
        this.frames.try_reserve_exact(frames)?;
        this.free.try_reserve_exact(frames * blocks_each)?;
        Ok(this)
    }

    fn has_room(&self, frames: usize, blocks_each: usize) -> bool {
        self.frames.capacity() >= frames && self.free.capacity() >= frames * blocks_each
    }

    /// Goes on in the lists of `roomier`, which are empty and have room for what is here; these go there.
    fn move_to(&mut self, roomier: &mut Self) {
        roomier.frames.append(&mut self.frames);
        roomier.free.append(&mut self.free);
        core::mem::swap(self, roomier);
    }
}

struct Shared<P: Platform> {
    platform: P,
    block_bytes: u64,
    blocks: lock_api::Mutex<P::Lock, Blocks>,
}

impl<P: Platform> Drop for Shared<P> {
    fn drop(&mut self) {
        for frame in self.blocks.get_mut().frames.drain(..) {
            // SAFETY: lent as one range, and every block holds on to this value: none is left.
            unsafe { self.platform.free_frames(frame) };
        }
    }
}

/// A frame on its way to the blocks; it goes back if they do not need it.
struct Loan<P: Platform> {
    platform: P,
    frame: Option<PhysRange>,
}

impl<P: Platform> Drop for Loan<P> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            // SAFETY: lent as one range; nothing was put there.
            unsafe { self.platform.free_frames(frame) };
        }
    }
}

/// Frames cut into blocks of one size.
///
/// ```
/// # use board as _;
/// # fn example<P: dmamap::platform::Platform>(platform: P) -> Result<(), dmamap::buffer::BufferError> {
/// use dmamap::buffer::PackedFrames;
///
/// let commands = PackedFrames::new(platform, 192);
/// let mut first = commands.allocate()?;
/// first.as_mut_slice()[0] = 0x12;
/// # Ok(())
/// # }
/// ```
pub struct PackedFrames<P: Platform> {
    shared: Arc<Shared<P>>,
}

impl<P: Platform> PackedFrames<P> {
    /// Blocks of `block_bytes` bytes, rounded up to a multiple of 8 and at most a frame. Holds no frame yet.
    pub fn new(platform: P, block_bytes: u64) -> Self {
        let block_bytes = block_bytes.clamp(1, FRAME_BYTES).next_multiple_of(8);
        let blocks = Blocks::empty();
        let shared = Shared {
            platform,
            block_bytes,
            blocks: lock_api::Mutex::new(blocks),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A block of zeros.
    ///
    /// # Errors
    /// [`BufferError`] when no frame is left.
    pub fn allocate(&self) -> Result<PackedBuffer<P>, BufferError> {
        let Shared {
            platform,
            block_bytes,
            ..
        } = *self.shared;
        let start = self.take()?;
        let phys = PhysRange::new(start, block_bytes).expect("blocks lie in frames");
        let pointer = platform.frame_pointer(start);
        // SAFETY: the block is lent to this value alone until it goes back in `drop`.
        let bytes = unsafe { Bytes::zeroed_part(pointer, block_bytes as usize) };
        Ok(PackedBuffer {
            shared: self.shared.clone(),
            phys,
            bytes,
        })
    }

    /// A block that nobody has.
    fn take(&self) -> Result<PhysAddr, BufferError> {
        let Shared {
            platform,
            block_bytes,
            ..
        } = *self.shared;
        let blocks_each = (FRAME_BYTES / block_bytes) as usize;
        let mut frame = Loan {
            platform,
            frame: None,
        };
        let mut spare = Blocks::empty();
        loop {
            let mut blocks = self.shared.blocks.lock();
            if let Some(start) = blocks.free.pop() {
                return Ok(start);
            }
            let frames = blocks.frames.len() + 1;
            if !blocks.has_room(frames, blocks_each) && spare.has_room(frames, blocks_each) {
                blocks.move_to(&mut spare);
            }
            match (frame.frame, blocks.has_room(frames, blocks_each)) {
                (Some(new), true) => {
                    frame.frame = None;
                    blocks.frames.push(new);
                    let starts = (0..FRAME_BYTES / block_bytes).rev();
                    let starts = starts.map(|n| new.start().as_u64() + n * block_bytes);
                    blocks.free.extend(starts.map(PhysAddr::new));
                }
                // Not under the lock: memory may be slow to come, and the general allocator has locks of its own. Others may
                // take the block meanwhile, or bring one.
                (None, _) => {
                    drop(blocks);
                    frame.frame = Some(platform.allocate_frames(FrameRequest::new(1))?);
                }
                (Some(_), false) => {
                    drop(blocks);
                    spare = Blocks::with_room(2 * frames, blocks_each).map_err(|_| {
                        let len_bytes = block_bytes;
                        BufferError::NoRecord { len_bytes }
                    })?;
                }
            }
        }
    }

    /// Frames that blocks lie in.
    pub fn frames(&self) -> usize {
        self.shared.blocks.lock().frames.len()
    }
}

impl<P: Platform> fmt::Debug for PackedFrames<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, frames) = (self.shared.block_bytes, self.frames());
        write!(
            f,
            "PackedFrames({frames} frames of blocks of {bytes} bytes)"
        )
    }
}

/// A block that shares its frame with others, zeroed when allocated.
pub struct PackedBuffer<P: Platform> {
    shared: Arc<Shared<P>>,
    phys: PhysRange,
    bytes: Bytes,
}

impl<P: Platform> PackedBuffer<P> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.as_mut_slice()
    }
}

// SAFETY: the block is this value's alone and stays where it is until `drop`; that its frame is shared it says;
// access goes through `as_slice` and `as_mut_slice`, which borrow the value; forgetting it never gives it back.
unsafe impl<P: Platform> DmaMemory for PackedBuffer<P> {
    fn frames(&self) -> Frames {
        Frames::Shared
    }

    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn virt(&self) -> VirtAddr {
        self.bytes.virt()
    }

    fn pointer(&self) -> NonNull<u8> {
        self.bytes.pointer()
    }

    fn segment(&self, offset: u64) -> PhysRange {
        let total = self.len_bytes();
        let offset = offset.min(total);
        self.phys
            .slice(offset, total - offset)
            .expect("within the block")
    }
}

impl<P: Platform> Drop for PackedBuffer<P> {
    fn drop(&mut self) {
        // There is room: for every block.
        self.shared.blocks.lock().free.push(self.phys.start());
    }
}

impl<P: Platform> fmt::Debug for PackedBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedBuffer({:?})", self.phys)
    }
}

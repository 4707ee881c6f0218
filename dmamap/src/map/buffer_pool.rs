//! Blocks of memory that stay mapped: for receive buffers and bounce areas that are used again and again.
//!
//! A pool is mapped once, when it is made, and unmapped when it and the last block are gone. Taking a block and giving it
//! back costs no mapping, no invalidation and no allocation. The price: the device keeps access to all blocks all the
//! time, those that nobody has taken included, and may write any of them at any moment. So, as everywhere, the CPU
//! has no reference to a block's bytes, and copies them in and out.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::map::{BufferPool, BufferPoolError, FromDevice};
//! use dmamap::platform::Platform;
//!
//! fn receive<P: Platform>(device: &Device<P>) -> Result<(), BufferPoolError> {
//!     let pool = BufferPool::allocate(device, 64, 2048, FromDevice)?;
//!     if let Some(mut block) = pool.take() {
//!         // … tell the device `block.bus_addr()` and wait until it has written a packet …
//!         let mut head = [0; 14];
//!         let read = block.sync_for_cpu().read_at(0, &mut head);
//!         assert!(read.is_ok());
//!     } // back in the pool, for the next packet
//!     Ok(())
//! }
//! ```

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::{BusAddr, BusRange};
use crate::buffer::{BufferError, DmaBuffer, DmaMemory};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::direction::Direction;
use crate::map::error::{MapFailure, Quarantined};
use crate::map::live::Live;
use crate::map::place::LINE_BYTES;
use crate::map::terms::{Shape, Terms};
use crate::map::view::{CpuView, OutOfBounds};
use crate::platform::Platform;

/// A pool that could not be made, and for which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: no pool of {blocks} blocks of {block_bytes:#x} bytes: {failure}")]
pub struct BufferPoolError {
    /// The device.
    pub device: Requester,
    /// Blocks asked for.
    pub blocks: usize,
    /// Bytes of each.
    pub block_bytes: u64,
    /// What stood in the way.
    pub failure: BufferPoolFailure,
}

/// Why there is no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferPoolFailure {
    /// A pool has one block at least, of one byte at least, and no more than can be counted.
    #[error("there are 1 to {max_blocks} blocks, of 1 byte at least, that fit memory together")]
    Shape {
        /// The most blocks that can be counted.
        max_blocks: u32,
    },
    /// The platform lent no memory for it.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The device cannot be given it.
    #[error(transparent)]
    Map(#[from] MapFailure),
}

/// What a pool and its blocks share. Unmaps the memory when the last of them is gone.
struct Shared<P: Platform> {
    /// `None` only while `drop` runs.
    parts: Option<(Live<P>, ManuallyDrop<DmaBuffer<P>>)>,
    start: NonNull<u8>,
    block_bytes: u64,
    stride: u64,
    blocks: usize,
    /// Numbers of the blocks nobody has. Its capacity is their number, so giving one back takes no memory.
    free: lock_api::Mutex<P::Lock, Vec<u32>>,
}

// SAFETY: the pointer is that of the buffer in `parts`, which may be used on any thread; its bytes are accessed only
// through blocks, each of which one `PooledBuffer` has.
unsafe impl<P: Platform> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Shared<P> {}

impl<P: Platform> Shared<P> {
    fn live(&self) -> &Live<P> {
        let (live, _) = self.parts.as_ref().expect("only `drop` takes the parts");
        live
    }
}

impl<P: Platform> Drop for Shared<P> {
    fn drop(&mut self) {
        if let Some((live, buffer)) = self.parts.take()
            && let Err(error) = live.revoke_owned(buffer)
        {
            log::error!("{error}");
        }
    }
}

/// Blocks of equal size that are mapped for a device in one direction until they are all gone, or the device is
/// detached. Sharing it between threads is fine.
pub struct BufferPool<P: Platform, D: Direction> {
    shared: Arc<Shared<P>>,
    direction: D,
}

impl<P: Platform, D: Direction> BufferPool<P, D> {
    /// Allocates `blocks` zeroed blocks of `block_bytes` bytes and lends them to the device.
    ///
    /// # Errors
    /// [`BufferPoolError`].
    pub fn allocate(
        device: &Device<P>,
        blocks: usize,
        block_bytes: u64,
        direction: D,
    ) -> Result<Self, BufferPoolError> {
        Self::try_allocate(device, blocks, block_bytes, direction).map_err(|failure| {
            BufferPoolError {
                device: device.requester(),
                blocks,
                block_bytes,
                failure,
            }
        })
    }

    fn try_allocate(
        device: &Device<P>,
        blocks: usize,
        block_bytes: u64,
        direction: D,
    ) -> Result<Self, BufferPoolFailure> {
        let shape = BufferPoolFailure::Shape {
            max_blocks: u32::MAX,
        };
        let count = u32::try_from(blocks).map_err(|_| shape)?;
        // No two blocks share a cache line.
        let line_bytes = device.platform().cache_line_bytes().max(LINE_BYTES);
        let stride = block_bytes.checked_next_multiple_of(line_bytes);
        let stride = stride.filter(|&stride| stride > 0).ok_or(shape)?;
        let len_bytes = stride.checked_mul(count.into()).ok_or(shape)?;
        if len_bytes == 0 {
            return Err(shape);
        }
        let mut free = Vec::new();
        free.try_reserve_exact(blocks).map_err(|_| shape)?;
        // The lowest is taken first.
        free.extend((0..count).rev());
        let buffer = DmaBuffer::allocate_for(device, len_bytes)?;
        let start = buffer.pointer();
        let terms = Terms::new(device.mask(), Shape::Single, direction);
        let buffer = ManuallyDrop::new(buffer);
        let parts = Live::establish_owned(device, buffer, terms, |live, buffer| (live, buffer))
            .map_err(|rejected| rejected.error.failure)?;
        Ok(Self {
            shared: Arc::new(Shared {
                parts: Some(parts),
                start,
                block_bytes,
                stride,
                blocks,
                free: lock_api::Mutex::new(free),
            }),
            direction,
        })
    }

    /// Takes a block that nobody has; `None` if there is none. It holds whatever was last written to it.
    pub fn take(&self) -> Option<PooledBuffer<P, D>> {
        let number = self.shared.free.lock().pop()?;
        Some(PooledBuffer {
            shared: self.shared.clone(),
            number,
            direction: self.direction,
        })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.shared.blocks
    }

    /// Bytes of each.
    pub fn block_bytes(&self) -> u64 {
        self.shared.block_bytes
    }

    /// Blocks that nobody has at this moment.
    pub fn available(&self) -> usize {
        self.shared.free.lock().len()
    }

    /// All bus addresses that the device keeps access to.
    pub fn range(&self) -> BusRange {
        self.shared.live().range()
    }

    /// Takes the memory back from the device and frees it, if no block is taken any more; else that happens when the last
    /// block is given back.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that the device lost it; it is kept then.
    pub fn free(self) -> Result<(), Quarantined> {
        match Arc::into_inner(self.shared).and_then(|mut shared| shared.parts.take()) {
            Some((live, buffer)) => live.revoke_owned(buffer).map(drop),
            None => Ok(()),
        }
    }
}

impl<P: Platform, D: Direction> fmt::Debug for BufferPool<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, block_bytes) = (self.blocks(), self.block_bytes());
        write!(
            f,
            "BufferPool({blocks} × {block_bytes} bytes at {:?})",
            self.range()
        )
    }
}

/// A block that was taken from a [`BufferPool`]. Dropping it gives it back.
pub struct PooledBuffer<P: Platform, D: Direction> {
    shared: Arc<Shared<P>>,
    number: u32,
    direction: D,
}

impl<P: Platform, D: Direction> PooledBuffer<P, D> {
    fn offset(&self) -> u64 {
        u64::from(self.number) * self.shared.stride
    }

    /// The device it is mapped for.
    pub fn device(&self) -> Requester {
        self.shared.live().held().core().requester
    }

    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the block.
    pub fn range(&self) -> BusRange {
        let whole = self.shared.live().range();
        whole
            .slice(self.offset(), self.len_bytes())
            .expect("the pool's memory holds its blocks")
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.shared.block_bytes
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.direction
    }

    /// As [`Mapping::sync_for_cpu`](crate::map::Mapping::sync_for_cpu).
    pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        self.view(0, self.len_bytes())
    }

    /// As [`Mapping::sync_range_for_cpu`](crate::map::Mapping::sync_range_for_cpu).
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes leave the block.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        OutOfBounds::check(self.device(), offset, len_bytes, self.len_bytes())?;
        Ok(self.view(offset, len_bytes))
    }

    /// A view of bytes that are the block's.
    fn view(&mut self, offset: u64, len_bytes: u64) -> CpuView<'_, P, D> {
        let start = self.offset() + offset;
        // SAFETY: the block lies in the pool's memory, and the bytes in the block: the live mapping's for as long as the
        // view borrows this block, which alone has them.
        unsafe { CpuView::over(self.shared.live(), self.shared.start, start, len_bytes) }
    }
}

impl<P: Platform, D: Direction> Drop for PooledBuffer<P, D> {
    fn drop(&mut self) {
        self.shared.free.lock().push(self.number);
    }
}

impl<P: Platform, D: Direction> fmt::Debug for PooledBuffer<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledBuffer({:?} {:?})", self.range(), self.direction)
    }
}

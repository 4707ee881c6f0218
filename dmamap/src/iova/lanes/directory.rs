//! From an address to the lent block that it is in: tables of frames, as deep as the space is wide, read without a lock.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::lent::LentBlock;
use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use crate::iova::block::Level;
use crate::iova::units::UNITS_LOG2;
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// log2 of the entries of a table, which fills a frame.
const FAN_LOG2: u32 = 9;
const FAN: usize = 1 << FAN_LOG2;

/// In a link: there is a table.
const PRESENT: u64 = 1;

/// Links to tables one level down: their physical addresses.
type Inner = [AtomicU64; FAN];

/// The lent blocks, by the lower bits of their number.
type Lowest = [AtomicPtr<LentBlock>; FAN];

/// The lent blocks of a space by their number.
///
/// Tables stay until all go at once, so a look needs nobody's leave while that is kept from happening.
pub(super) struct Directory<P: Platform> {
    platform: P,
    /// log2 of the granules in a block.
    block_log2: u32,
    /// Levels of tables above the lowest.
    height: u32,
    root: AtomicU64,
    frames: AtomicUsize,
}

impl<P: Platform> Directory<P> {
    /// Of blocks of that level whose granules are below `end`.
    pub(super) fn new(platform: P, level: Level, end: u64) -> Self {
        let block_log2 = level.unit_log2() + UNITS_LOG2;
        let bits = u64::BITS - (end.saturating_sub(1) >> block_log2).leading_zeros();
        Self {
            platform,
            block_log2,
            height: bits.div_ceil(FAN_LOG2).saturating_sub(1),
            root: AtomicU64::new(0),
            frames: AtomicUsize::new(0),
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// The lent block with that granule.
    #[inline]
    pub(super) fn get(&self, granule: u64) -> Option<NonNull<LentBlock>> {
        let number = granule >> self.block_log2;
        if number >> (FAN_LOG2 * (self.height + 1)) != 0 {
            return None;
        }
        let mut link = &self.root;
        for level in (1..=self.height).rev() {
            // SAFETY: a link above the lowest level leads to links.
            link =
                &unsafe { self.table::<Inner>(link.load(Ordering::Acquire)) }?[at(number, level)];
        }
        // SAFETY: one of the lowest level leads to blocks.
        let lowest = unsafe { self.table::<Lowest>(link.load(Ordering::Acquire)) }?;
        NonNull::new(lowest[at(number, 0)].load(Ordering::Acquire))
    }

    /// Makes what tables are missing on the way to the block with this granule. One at a time.
    ///
    /// # Errors
    /// [`OutOfFrames`] where there is no memory for them.
    pub(super) fn make_way(&self, granule: u64) -> Result<(), OutOfFrames> {
        self.lowest(granule >> self.block_log2).map(drop)
    }

    /// Makes `block` the one that is found at its granules, to which there is [a way](Self::make_way).
    pub(super) fn set(&self, granule: u64, block: Option<NonNull<LentBlock>>) {
        let number = granule >> self.block_log2;
        if let Ok(lowest) = self.lowest(number) {
            let block = block.map_or(null_mut(), NonNull::as_ptr);
            lowest[at(number, 0)].store(block, Ordering::Release);
        }
    }

    /// The lowest table on the way to a block, made where it is missing.
    fn lowest(&self, number: u64) -> Result<&Lowest, OutOfFrames> {
        let mut link = &self.root;
        for level in (1..=self.height).rev() {
            let word = self.linked(link)?;
            // SAFETY: a link above the lowest level leads to links.
            let table = unsafe { self.table::<Inner>(word) };
            link = &table.expect("it was linked")[at(number, level)];
        }
        let word = self.linked(link)?;
        // SAFETY: one of the lowest level leads to blocks.
        Ok(unsafe { self.table(word) }.expect("it was linked"))
    }

    fn linked(&self, link: &AtomicU64) -> Result<u64, OutOfFrames> {
        let word = link.load(Ordering::Relaxed);
        if word != 0 {
            return Ok(word);
        }
        let frame = self.platform.allocate_frames(FrameRequest::new(1))?.start();
        let table = self.platform.frame_pointer(frame).as_ptr();
        // SAFETY: the frame was just lent, and is of so many bytes.
        unsafe { table.write_bytes(0, FRAME_BYTES as usize) };
        self.frames.fetch_add(1, Ordering::Relaxed);
        let word = frame.as_u64() | PRESENT;
        link.store(word, Ordering::Release);
        Ok(word)
    }

    /// The table that a link leads to.
    ///
    /// # Safety
    /// Tables of the link's level are of type `T`, which bytes of 0 are a value of, and which others may share.
    unsafe fn table<T>(&self, link: u64) -> Option<&T> {
        const { assert!(size_of::<T>() == FRAME_BYTES as usize) };
        (link != 0).then(|| {
            let frame = PhysAddr::new(link & !PRESENT);
            // SAFETY: a linked frame is lent to this directory, and was made of zeros before it was linked; it stays until
            // `free`, which has the directory to itself.
            unsafe { self.platform.frame_pointer(frame).cast::<T>().as_ref() }
        })
    }

    /// Gives all tables back. Nothing is found any more.
    ///
    /// # Safety
    /// Nobody looks anything up meanwhile, nor changes anything.
    pub(super) unsafe fn free(&self) {
        let root = self.root.swap(0, Ordering::Relaxed);
        // SAFETY: nobody else is at the directory.
        unsafe { self.free_below(root, self.height) };
        self.frames.store(0, Ordering::Relaxed);
    }

    /// # Safety
    /// `link` was taken out of the directory and leads to tables of this level, and nobody looks at them.
    unsafe fn free_below(&self, link: u64, level: u32) {
        if link == 0 {
            return;
        }
        if level > 0 {
            // SAFETY: above the lowest level tables are of links.
            let table = unsafe { self.table::<Inner>(link) };
            for child in table.into_iter().flatten() {
                // SAFETY: what a table leads to is nobody else's.
                unsafe { self.free_below(child.load(Ordering::Relaxed), level - 1) };
            }
        }
        let frame = PhysRange::new(PhysAddr::new(link & !PRESENT), FRAME_BYTES);
        // SAFETY: it was lent as one frame, and nothing leads to it any more.
        unsafe {
            self.platform
                .free_frames(frame.expect("a frame lies in the address space"));
        }
    }
}

impl<P: Platform> Drop for Directory<P> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the directory.
        unsafe { self.free() };
    }
}

/// Where a block's entry is in its table of that level.
#[inline]
fn at(number: u64, level: u32) -> usize {
    (number >> (FAN_LOG2 * level)) as usize % FAN
}

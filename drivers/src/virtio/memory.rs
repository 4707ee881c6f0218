//! Memory that the crate allocates for longer than a request: rings, and what a screen shows.
//!
//! The crate reads and writes it as its own, through references too, and believes what it reads. So it gets memory that no
//! device reaches, and the device other memory of the same length; what passes between them is copied
//! ([`ring`](super::ring)), and looked at on the way.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;

use dmamap::device::Device;
use dmamap::map::{Coherent, CoherentError, OutOfBounds, Outside, Shared};
use dmamap::platform::Platform;
use virtio_drivers::{BufferDirection, PAGE_SIZE};

/// A page of the device's.
type DevicePage = [u8; PAGE_SIZE];

/// A page of the crate's.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct CratePage(DevicePage);

const _: () = assert!(align_of::<CratePage>() == PAGE_SIZE);

/// Why the crate gets no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MemoryError {
    #[error("{pages} pages cannot be allocated")]
    OutOfMemory { pages: usize },
    #[error(transparent)]
    Device(#[from] CoherentError),
}

/// The crate's memory and the device's.
pub(super) struct Memory<P: Platform> {
    crates: Arc<CratePages>,
    device: Coherent<P, DevicePage>,
    direction: BufferDirection,
}

/// Memory that the crate has pointers to. It outlives its [`Memory`] until the crate frees it.
pub(super) struct CratePages(NonNull<[CratePage]>);

// SAFETY: the pages are owned, as a box of them would be.
unsafe impl Send for CratePages {}
// SAFETY: what is shared is the pointer; who may follow it, `Memory` and the crate say.
unsafe impl Sync for CratePages {}

impl CratePages {
    fn allocate(pages: usize) -> Result<Self, MemoryError> {
        let mut owned = Vec::new();
        let reserved = owned.try_reserve_exact(pages);
        reserved.map_err(|_| MemoryError::OutOfMemory { pages })?;
        owned.resize(pages, CratePage([0; PAGE_SIZE]));
        let pages = Box::into_raw(owned.into_boxed_slice());
        Ok(Self(NonNull::new(pages).expect("a box is somewhere")))
    }

    /// X: where the crate sees them.
    pub(super) fn pointer(&self) -> NonNull<u8> {
        self.0.cast()
    }

    /// The `len_bytes` bytes at X `start`, by the pointer that owns the pages; `None` if not all of them are here.
    pub(super) fn bytes(&self, start: usize, len_bytes: usize) -> Option<NonNull<[u8]>> {
        let whole_bytes = self.0.len() * PAGE_SIZE;
        let offset = start.checked_sub(self.pointer().addr().get())?;
        let end = offset.checked_add(len_bytes)?;
        let first = NonNull::new(self.pointer().as_ptr().wrapping_add(offset))?;
        (end <= whole_bytes).then(|| NonNull::slice_from_raw_parts(first, len_bytes))
    }
}

impl Drop for CratePages {
    fn drop(&mut self) {
        // SAFETY: made from a box in `allocate`, which nobody took back. The crate has freed the pages, and no `Memory`
        // uses them.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<P: Platform> Memory<P> {
    /// `pages` zeroed pages for the crate, and as many for the device.
    pub(super) fn allocate(
        device: &Device<P>,
        pages: usize,
        direction: BufferDirection,
    ) -> Result<Self, MemoryError> {
        Ok(Self {
            device: device.alloc_coherent::<DevicePage>(pages)?,
            crates: Arc::new(CratePages::allocate(pages)?),
            direction,
        })
    }

    /// Which way the crate said that data goes.
    pub(super) fn direction(&self) -> BufferDirection {
        self.direction
    }

    /// Z: where the device sees its pages.
    pub(super) fn bus(&self) -> u64 {
        self.device.bus_addr().as_u64()
    }

    /// X: where the crate sees its own.
    pub(super) fn pointer(&self) -> NonNull<u8> {
        self.crates.pointer()
    }

    /// The crate's pages, to be kept until it frees them.
    pub(super) fn crate_pages(&self) -> Arc<CratePages> {
        Arc::clone(&self.crates)
    }

    /// The device's pages.
    pub(super) fn device(&self) -> &Coherent<P, DevicePage> {
        &self.device
    }

    /// The field at byte `offset` of the crate's pages.
    pub(super) fn read<T: Shared>(&self, offset: u64) -> Result<T, OutOfBounds> {
        let field = self.field::<T>(offset)?;
        // SAFETY: in bounds and aligned, and any bytes are a valid `T`. The crate, which may write there, does so in the
        // calls of which ours is a part.
        Ok(unsafe { field.read_volatile() })
    }

    /// Changes the field at byte `offset` of the crate's pages.
    pub(super) fn write<T: Shared>(&mut self, offset: u64, value: T) -> Result<(), OutOfBounds> {
        let field = self.field::<T>(offset)?;
        // SAFETY: as in `read`; the crate makes no references to rings.
        unsafe { field.write_volatile(value) };
        Ok(())
    }

    /// Shows the device all that the crate has.
    pub(super) fn copy_out(&mut self) {
        for page in 0..self.device.len() {
            let copied = self
                .read::<DevicePage>((page * PAGE_SIZE) as u64)
                .and_then(|bytes| self.device.write(page, bytes));
            copied.expect("both have as many pages");
        }
    }

    fn field<T: Shared>(&self, offset: u64) -> Result<*mut T, OutOfBounds> {
        let whole_bytes = (self.device.len() * PAGE_SIZE) as u64;
        let len_bytes = size_of::<T>() as u64;
        let field = self.pointer().as_ptr().wrapping_add(offset as usize);
        let field = field.cast::<T>();
        let is_inside = offset
            .checked_add(len_bytes)
            .is_some_and(|end| end <= whole_bytes);
        match is_inside && field.is_aligned() {
            true => Ok(field),
            false => Err(OutOfBounds {
                device: self.device.device(),
                outside: Outside {
                    offset,
                    len_bytes,
                    whole_bytes,
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_by_address_and_never_past_the_pages() {
        let pages = CratePages::allocate(2).unwrap();
        let start = pages.pointer().addr().get();
        let len = 2 * PAGE_SIZE;
        assert!(pages.bytes(start, len).is_some());
        assert!(pages.bytes(start + 5, len - 5).is_some());
        assert_eq!(pages.bytes(start + 5, len - 4), None);
        assert_eq!(pages.bytes(start - 1, 1), None);
        assert_eq!(pages.bytes(start + 1, usize::MAX), None);
    }

    /// What the picture of a screen goes through: the crate makes a reference, the transport reads by the owner's
    /// pointer, and the picture is written again. Miri knows whether that is allowed.
    #[test]
    fn a_picture_is_written_again_after_it_was_shown() {
        let pages = CratePages::allocate(1).unwrap();
        let mut whole = NonNull::slice_from_raw_parts(pages.pointer(), PAGE_SIZE);
        // SAFETY: nobody else uses the pages.
        let crates = unsafe { whole.as_mut() };
        crates[3] = 1;
        let (start, len) = (crates.as_ptr().addr(), crates.len());
        for round in 2..5 {
            // SAFETY: as above.
            let pixels = unsafe { pages.bytes(start, len).unwrap().as_mut() };
            assert_eq!(pixels[3], round - 1);
            pixels[3] = round;
            // SAFETY: in bounds.
            let shown = unsafe { pages.pointer().as_ptr().add(3).read_volatile() };
            assert_eq!(shown, round);
        }
    }
}

//! The crate's view of a platform, for the device of one slot.

use core::marker::PhantomData;
use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use super::place::Slot;

/// The crate's [`Hal`], for the device that stands in the place of `S`.
///
/// Its functions cannot fail, but for the allocation of memory. What becomes of failures all the same:
///
/// - memory that cannot be had is an error of the crate ([`Error::DmaError`](virtio_drivers::Error::DmaError));
/// - a buffer that cannot be lent: the crate is given address 0, which is never mapped, and
///   [`PciTransport`](super::PciTransport) does not tell the device of the request;
///   [`Place::take_refusal`](super::Place::take_refusal) says why;
/// - memory that the IOMMU does not confirm to have taken back is quarantined by `dmamap`, after its content was copied.
///
/// No memory that it gives the crate is a device's: see [`PciTransport`](super::PciTransport).
///
/// Registers are claimed, not looked up by address: of the transports only [`PciTransport`](super::PciTransport) can be
/// used.
pub struct SlotHal<S: Slot>(PhantomData<S>);

// SAFETY: `dma_alloc` returns zeroed memory that the slot's place keeps until `dma_dealloc`: valid, aligned to a page, and
// written by nobody else but, in the crate's own calls, by the transport. `mmio_phys_to_virt` never returns.
unsafe impl<S: Slot> Hal for SlotHal<S> {
    fn dma_alloc(pages: usize, direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        S::place()
            .allocate(pages, direction)
            .unwrap_or((0, NonNull::dangling()))
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, vaddr: NonNull<u8>, pages: usize) -> i32 {
        match S::place().free(paddr, vaddr, pages) {
            true => 0,
            false => -1,
        }
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, size: usize) -> NonNull<u8> {
        panic!("{size} bytes of registers at {paddr:#x} are reached through claims only");
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        // SAFETY: the caller promises that the bytes are valid and nobody accesses them during this call.
        let bytes = unsafe { buffer.as_ref() };
        S::place().share(bytes, direction).unwrap_or(0)
    }

    unsafe fn unshare(paddr: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction == BufferDirection::DriverToDevice {
            // May be memory that cannot be written, so no reference to write it is made.
            return S::place().unshare(paddr, &mut [], direction);
        }
        // SAFETY: as in `share`; what the device writes the crate was given to write.
        let bytes = unsafe { buffer.as_mut() };
        S::place().unshare(paddr, bytes, direction);
    }
}

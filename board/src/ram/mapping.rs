//! Mappings of the memory file: whole, for a direct map, and page by page, for scattered memory.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use super::{PAGE_BYTES, Ram, RamError, RamRegion};

/// All of RAM at consecutive virtual addresses; byte `phys` is at `base + phys`.
///
/// Unmapped when dropped. At addresses of holes an access faults.
#[derive(Debug)]
pub struct RamMapping {
    addresses: Reservation,
    len_bytes: u64,
}

impl RamMapping {
    /// Maps each of `regions`, which ascend, at its physical address.
    pub(super) fn new(file: BorrowedFd<'_>, regions: &[RamRegion]) -> Result<Self, RamError> {
        let len_bytes = regions.last().map_or(0, |region| region.phys.end);
        let addresses = Reservation::new(len_bytes)?;
        for RamRegion { phys, file_offset } in regions {
            let len_bytes = phys.end - phys.start;
            let start = addresses.slice(phys.start, len_bytes)?;
            // SAFETY: addresses of a reservation that nobody knows yet.
            unsafe { map_file(start, len_bytes, file, *file_offset)? };
        }
        Ok(Self {
            addresses,
            len_bytes,
        })
    }

    /// Where physical address 0 is mapped.
    pub fn base(&self) -> NonNull<u8> {
        self.addresses.base
    }

    /// Length: one past the highest physical address.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Where `phys` is mapped, or `None` past the end of memory.
    pub fn pointer(&self, phys: u64) -> Option<NonNull<u8>> {
        let offset = usize::try_from(phys)
            .ok()
            .filter(|_| phys < self.len_bytes)?;
        // SAFETY: the offset is inside the reservation, one allocation of at least `len_bytes` bytes.
        Some(unsafe { self.addresses.base.add(offset) })
    }
}

/// Virtual addresses set aside, at which pages of RAM can be mapped side by side (`vmap`).
///
/// Where nothing is mapped an access faults. Given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: an address and a length; it may be used and given back from any thread. What memory mapped there holds is
// reached through raw pointers only, whose users answer for their own races.
unsafe impl Send for Reservation {}
// SAFETY: mapping pages over a reservation is done by the host's kernel, which serialises it; who maps
// over addresses in use answers to `map_pages`' contract.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Sets `len_bytes` (rounded up to pages) of address space aside.
    ///
    /// # Errors
    /// [`RamError::Map`] when there is none.
    pub fn new(len_bytes: u64) -> Result<Self, RamError> {
        let failed = |source| RamError::Map { len_bytes, source };
        let len = len_bytes
            .checked_next_multiple_of(PAGE_BYTES)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        // SAFETY: the kernel picks the address, so no mapping of this process is replaced.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(|errno| failed(errno.into()))?;
        let base = NonNull::new(base.cast()).ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
        Ok(Self {
            base,
            len_bytes: len,
        })
    }

    /// The first address.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Number of bytes set aside.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    /// Maps the pages of `ram` at the physical addresses `pages` side by side from `offset` on, and returns
    /// where the first one is. Runs of consecutive pages share one mapping of the host.
    ///
    /// # Errors
    /// [`RamError::NotAPage`], [`RamError::OutsideReservation`], and [`RamError::Map`] when the host has no
    /// mappings left; then nothing stays mapped.
    ///
    /// # Safety
    /// Nobody uses the addresses `offset .. offset + pages`: what was mapped there is replaced.
    pub unsafe fn map_pages(
        &self,
        offset: u64,
        ram: &Ram,
        pages: &[u64],
    ) -> Result<NonNull<u8>, RamError> {
        let start = self.slice(offset, pages.len() as u64 * PAGE_BYTES)?;
        if let Some(page) = pages
            .iter()
            .find(|page| !page.is_multiple_of(PAGE_BYTES) || !ram.contains(**page, PAGE_BYTES))
        {
            return Err(RamError::NotAPage(*page));
        }
        let mut done = 0;
        for run in pages.chunk_by(|a, b| *b == *a + PAGE_BYTES) {
            let len = run.len() * PAGE_BYTES as usize;
            let file_offset = ram.file_offset(run[0]).ok_or(RamError::NotAPage(run[0]))?;
            // SAFETY: the target lies in this reservation, whose addresses are the caller's to replace.
            let mapped = unsafe { map_file(start.add(done), len as u64, ram.fd(), file_offset) };
            if let Err(error) = mapped {
                // SAFETY: the same addresses, which nobody has learned yet.
                unsafe { self.unmap_pages(offset, pages.len()) }?;
                return Err(error);
            }
            done += len;
        }
        Ok(start)
    }

    /// Undoes [`map_pages`](Self::map_pages): an access faults again. The address space stays reserved.
    ///
    /// # Errors
    /// [`RamError::OutsideReservation`], and [`RamError::Map`] when the host refuses.
    ///
    /// # Safety
    /// Nobody uses the addresses any more.
    pub unsafe fn unmap_pages(&self, offset: u64, pages: usize) -> Result<(), RamError> {
        let len_bytes = pages as u64 * PAGE_BYTES;
        let start = self.slice(offset, len_bytes)?;
        if pages == 0 {
            return Ok(());
        }
        // SAFETY: the target lies in this reservation, and nobody uses those addresses.
        let unmapped = unsafe {
            rustix::mm::mmap_anonymous(
                start.as_ptr().cast(),
                len_bytes as usize,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED,
            )
        };
        unmapped.map(drop).map_err(|errno| RamError::Map {
            len_bytes,
            source: errno.into(),
        })
    }

    fn slice(&self, offset: u64, len_bytes: u64) -> Result<NonNull<u8>, RamError> {
        let fits = offset
            .checked_add(len_bytes)
            .is_some_and(|end| end <= self.len_bytes());
        if !fits || !offset.is_multiple_of(PAGE_BYTES) {
            return Err(RamError::OutsideReservation { offset, len_bytes });
        }
        // SAFETY: the offset is inside the reservation (or one past its end).
        Ok(unsafe { self.base.add(offset as usize) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the addresses are this reservation's, whatever is mapped over it, and its owner is gone.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}

/// Maps `len_bytes` bytes of `file` from `file_offset` on at `start`.
///
/// # Safety
/// The addresses are of a reservation, and nobody uses them: what was mapped there is replaced.
unsafe fn map_file(
    start: NonNull<u8>,
    len_bytes: u64,
    file: BorrowedFd<'_>,
    file_offset: u64,
) -> Result<(), RamError> {
    let failed = |source| RamError::Map { len_bytes, source };
    let len = usize::try_from(len_bytes).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    // SAFETY: the caller's promise is this one's.
    let mapped = unsafe {
        rustix::mm::mmap(
            start.as_ptr().cast(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED,
            file,
            file_offset,
        )
    };
    mapped.map(drop).map_err(|errno| failed(errno.into()))
}

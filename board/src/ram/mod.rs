//! The computer's memory: a sparse file. Its offsets are physical addresses, unless somebody who maps it too keeps it
//! otherwise ([`Ram::with_file_offsets`]).
//!
//! [`Ram`] is memory as *hardware* sees it: devices and table walks reach it through a mapping of its own,
//! by physical address, bounds-checked, and never as a Rust reference. A kernel makes its own mappings:
//! [`Ram::map_kernel`] (the direct map) and [`Reservation::map_pages`] (scattered pages side by side).
//!
//! Word accesses are atomic. A copy of up to a cache line of naturally aligned words is a run of atomic
//! words in ascending order, so that a device's small structure becomes visible last word last; longer copies
//! have no order inside, as on a bus.
//!
//! ```
//! use board::ram::Ram;
//!
//! // Below and above a hole; 64 GiB cost nothing until they are touched.
//! let ram = Ram::new(&[0..0xa_0000, 0x10_0000..64 << 30])?;
//! ram.write(0x10_0ffe, b"dmamap")?;
//! let mut back = [0; 6];
//! ram.read(0x10_0ffe, &mut back)?;
//! assert_eq!(&back, b"dmamap");
//! assert!(ram.read(0xa_0000, &mut back).is_err(), "no memory in the hole");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod file_io;
mod mapping;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags};

pub use file_io::RamRun;
pub use mapping::{RamMapping, Reservation};

/// Bytes in one page: the granule of a kernel's mappings and of [`Ram::discard`].
pub const PAGE_BYTES: u64 = 4096;

/// Physical addresses at which there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RAM at physical {phys:#x} for {len_bytes:#x} bytes")]
pub struct OutsideRam {
    /// First physical address of the access.
    pub phys: u64,
    /// Its length.
    pub len_bytes: u64,
}

/// Why memory could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The regions are empty, out of order, overlapping in memory or in the file, or not whole pages; or they touch in
    /// memory and not in the file.
    #[error("RAM region {start:#x}-{end:#x} (end exclusive) is empty, unordered, overlapping, torn or not whole pages", start = .0.start, end = .0.end)]
    Regions(
        /// The first region at fault.
        Range<u64>,
    ),
    /// The host could not make the file that holds the memory.
    #[error("the host cannot make a memory file of {len_bytes:#x} bytes: {source}")]
    File {
        /// Length of the file.
        len_bytes: u64,
        /// What the host said.
        source: io::Error,
    },
    /// The host could not map the memory, or has no mappings left (Linux: `vm.max_map_count`).
    #[error("the host cannot map {len_bytes:#x} bytes: {source}")]
    Map {
        /// Length of the mapping.
        len_bytes: u64,
        /// What the host said.
        source: io::Error,
    },
    /// A page to map is not memory, or not a page.
    #[error("physical {0:#x} is not a page of RAM")]
    NotAPage(
        /// The physical address.
        u64,
    ),
    /// The addresses lie outside the reservation.
    #[error("{len_bytes:#x} bytes from offset {offset:#x} leave the reserved address space")]
    OutsideReservation {
        /// Offset in the reservation.
        offset: u64,
        /// Length asked for.
        len_bytes: u64,
    },
    /// The access leaves RAM.
    #[error(transparent)]
    Outside(#[from] OutsideRam),
}

/// A run of physical memory, and where the file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// Physical addresses.
    pub phys: Range<u64>,
    /// Offset in the file of the first one.
    pub file_offset: u64,
}

/// Memory, as hardware sees it.
#[derive(Debug)]
pub struct Ram {
    file: File,
    file_len_bytes: u64,
    regions: Vec<Range<u64>>,
    /// File offset of each region.
    offsets: Vec<u64>,
    /// The hardware's own view of all of it.
    view: RamMapping,
}

impl Ram {
    /// Makes memory at the physical ranges `regions`: ascending, disjoint, whole pages. It reads as zeros. Offsets in
    /// its file are physical addresses.
    ///
    /// # Errors
    /// [`RamError::Regions`] for ranges that cannot be memory, [`RamError::File`] and [`RamError::Map`] when
    /// the host refuses.
    pub fn new(regions: &[Range<u64>]) -> Result<Arc<Self>, RamError> {
        let at_phys = |phys: &Range<u64>| RamRegion {
            phys: phys.clone(),
            file_offset: phys.start,
        };
        Self::with_file_offsets(&regions.iter().map(at_phys).collect::<Vec<_>>())
    }

    /// As [`new`](Self::new), where the file holds each region at an offset of its own: as another process that maps
    /// the file expects it. Offsets ascend as addresses do.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// ```
    /// use board::ram::{Ram, RamRegion};
    ///
    /// // The memory above the hole follows in the file without one.
    /// let low = RamRegion { phys: 0..0x8000, file_offset: 0 };
    /// let high = RamRegion { phys: 0x1_0000..0x1_8000, file_offset: 0x8000 };
    /// let ram = Ram::with_file_offsets(&[low, high])?;
    /// assert_eq!(ram.file_len_bytes(), 0x1_0000);
    /// assert_eq!(ram.file_offset(0x1_0004), Some(0x8004));
    /// # Ok::<(), board::ram::RamError>(())
    /// ```
    pub fn with_file_offsets(regions: &[RamRegion]) -> Result<Arc<Self>, RamError> {
        let placed = joined(regions)?;
        let last = placed.last().ok_or(RamError::Regions(0..0))?;
        let len_bytes = last.file_offset + (last.phys.end - last.phys.start);
        let file_error = |source: rustix::io::Errno| RamError::File {
            len_bytes,
            source: source.into(),
        };
        let file: File = rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC)
            .map_err(file_error)?
            .into();
        rustix::fs::ftruncate(&file, len_bytes).map_err(file_error)?;
        let view = RamMapping::new(file.as_fd(), &placed)?;
        Ok(Arc::new(Self {
            file,
            file_len_bytes: len_bytes,
            regions: placed.iter().map(|region| region.phys.clone()).collect(),
            offsets: placed.iter().map(|region| region.file_offset).collect(),
            view,
        }))
    }

    /// The physical ranges that are memory, ascending; there is a hole between any two.
    pub fn regions(&self) -> &[Range<u64>] {
        &self.regions
    }

    /// One past the highest physical address.
    pub fn end(&self) -> u64 {
        self.view.len_bytes()
    }

    /// Length of the file.
    pub fn file_len_bytes(&self) -> u64 {
        self.file_len_bytes
    }

    /// The file that holds the memory, for a process that maps it too: see [`file_offset`](Self::file_offset).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where the file holds the byte at `phys`; `None` where there is no memory.
    pub fn file_offset(&self, phys: u64) -> Option<u64> {
        let mut placed = self.regions.iter().zip(&self.offsets);
        let (region, offset) = placed.find(|(region, _)| region.contains(&phys))?;
        Some(offset + (phys - region.start))
    }

    /// Whether all `len_bytes` bytes from `phys` lie in one region of memory.
    pub fn contains(&self, phys: u64, len_bytes: u64) -> bool {
        self.regions
            .iter()
            .any(|region| region.contains(&phys) && len_bytes <= region.end - phys)
    }

    /// A mapping of the whole memory for a kernel: its direct map.
    ///
    /// # Errors
    /// [`RamError::Map`] when the host has no address space.
    pub fn map_kernel(&self) -> Result<RamMapping, RamError> {
        RamMapping::new(self.file.as_fd(), &self.placed())
    }

    fn placed(&self) -> Vec<RamRegion> {
        let placed = self.regions.iter().zip(&self.offsets);
        placed
            .map(|(phys, &file_offset)| RamRegion {
                phys: phys.clone(),
                file_offset,
            })
            .collect()
    }

    /// Gives the host back what holds these pages; they read as zeros from now on.
    ///
    /// # Errors
    /// [`RamError::Outside`] if a byte is not memory, [`RamError::NotAPage`] if it is not whole pages,
    /// [`RamError::File`] when the host refuses.
    pub fn discard(&self, phys: u64, len_bytes: u64) -> Result<(), RamError> {
        self.check(phys, len_bytes)?;
        if !(phys | len_bytes).is_multiple_of(PAGE_BYTES) {
            return Err(RamError::NotAPage(phys));
        }
        let file_offset = self.file_offset(phys).ok_or(RamError::NotAPage(phys))?;
        if len_bytes == 0 {
            return Ok(());
        }
        rustix::fs::fallocate(
            &self.file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            file_offset,
            len_bytes,
        )
        .map_err(|source| RamError::File {
            len_bytes,
            source: source.into(),
        })
    }

    fn check(&self, phys: u64, len_bytes: u64) -> Result<(), OutsideRam> {
        if self.contains(phys, len_bytes) {
            Ok(())
        } else {
            Err(OutsideRam { phys, len_bytes })
        }
    }
}

/// The regions with neighbours joined, if they can be memory: what is one run of addresses is one run of the file.
fn joined(regions: &[RamRegion]) -> Result<Vec<RamRegion>, RamError> {
    let mut joined: Vec<RamRegion> = Vec::new();
    let (mut end, mut file_end) = (0, 0);
    for region in regions {
        let RamRegion { phys, file_offset } = region;
        let refused = || RamError::Regions(phys.clone());
        let pages = (phys.start | phys.end | file_offset).is_multiple_of(PAGE_BYTES);
        if phys.is_empty() || phys.start < end || *file_offset < file_end || !pages {
            return Err(refused());
        }
        let len_bytes = phys.end - phys.start;
        let touches = phys.start == end;
        let follows = *file_offset == file_end;
        (end, file_end) = (
            phys.end,
            file_offset.checked_add(len_bytes).ok_or_else(refused)?,
        );
        match joined.last_mut() {
            Some(last) if touches && follows => last.phys.end = end,
            Some(_) if touches => return Err(refused()),
            _ => joined.push(region.clone()),
        }
    }
    Ok(joined)
}

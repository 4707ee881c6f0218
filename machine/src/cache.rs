//! The CPU's caches: two copies of memory, in whole lines, and what hardware sees of them.
//!
//! ```text
//!   CPU ── direct map, vmalloc ──► cached ◄── hardware that snoops
//!    │                              ▲ │
//!    │                       refill │ ▼ write-back, line by line     cpu_caches.rs
//!    └── uncached mapping ───────► memory ◄── hardware that does not snoop
//! ```
//!
//! [`CpuCaches`] are the caches; [`MemoryView`] is memory as an IOMMU's walks see it, through them or beside them.
//! A device's way to either is chosen where its [port](crate::bus::DmaPort) is made. A computer in which everything
//! snoops has one copy and no caches: nobody could tell.
//!
//! ```
//! use board::ram::Ram;
//! use machine::cache::{MemoryView, Snooping};
//!
//! let ram = Ram::new(&[0..0x10000])?;
//! let view = MemoryView::new(ram.clone(), Snooping::Off, 1);
//! ram.store_u64(0x1000, 0x2003)?;
//! view.clean(0x1000, 8);
//! assert_eq!(view.load_u64(0x1000)?, 0x2003);
//! # Ok::<(), board::ram::RamError>(())
//! ```

mod cpu_caches;
mod line;
mod memory_view;
#[cfg(test)]
mod tests;

pub use board::hardware::Snooping;

pub use cpu_caches::{CacheReport, CpuCaches};
pub use memory_view::MemoryView;

/// Bytes in a cache line.
pub const LINE_BYTES: u64 = 64;

/// Every byte of memory that was never written back.
pub const POISON_BYTE: u8 = 0xf7;

/// A word of memory that was never written back: present bits and reserved bits are set.
pub const POISON: u64 = u64::from_ne_bytes([POISON_BYTE; 8]);

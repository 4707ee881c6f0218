//! Whole maps and unmaps, made by two CPUs at once: of one device, in one domain, and of a device each.
//!
//! A computer of models boots, whose IOMMU answers before the register write returns that asks it, and each thread is a CPU. What is shared is
//! the layer's: the device's figures, its domain, its pools. Beside it stand two threads with a computer each, which have nothing in
//! common: what they reach is what two CPUs of this machine reach at all.
//!
//! - [`Path`] is what is mapped and how, [`Worker`] one CPU's part of it
//! - [`Computer`] is what is booted
//! - [`two_threads`] is the load
//!
//! ```
//! use peers::mapping::{Computer, Flushes, Path};
//!
//! let computer = Computer::boot(Flushes::AsUsual)?;
//! let mut worker = Path::Deferred.shared_on(&computer)?()?;
//! assert!(worker(3));
//! # Ok::<(), peers::PeersError>(())
//! ```

mod computer;
mod path;
mod threads;

pub use computer::{Computer, Flushes};
pub use path::{Path, Shared, Worker};
pub use threads::two_threads;

//! The same loads on `dmamap` and on what others have: how much time each takes, side by side.
//!
//! `cargo xtask bench --peers` is the way to run it: it fetches Linux's sources, compiles `iova.c` and
//! `io-pgtable-arm.c` for a process (the folder `linux` of this package stands in for the rest of the kernel), and
//! starts this package's program. Without Linux the published crates remain. `docs/performance.md` says what the
//! figures mean.
//!
//! - [`iova`]: who chooses bus addresses, and the loads for it
//! - [`table`]: who writes page tables, and the loads for it
//! - [`bounce`]: mappings that are copies, beside copies alone
//! - [`linux`]: Linux's code, as a library that is loaded
//! - [`measure`]: contestants take turns, on one CPU ([`pinning`]), and [`statistics`] of what they took
//! - [`item`]: the list of loads; [`report`]: the table, or JSON
//! - [`mapping`]: whole maps and unmaps on two CPUs, of one device and of one each
//! - [`frames`] and [`spin_lock`]: the platform that `dmamap` runs on here, as cheap as Linux's; [`undisturbed`]: that of a whole computer
//!
//! To try another implementation of ours, change `iova/ours.rs` or `table/ours.rs`; but for `bounce` and `mapping` nothing else names `dmamap`'s types.
//!
//! ```
//! use peers::iova::{self, IovaAllocator};
//! use peers::measure::Effort;
//!
//! let contestants: Vec<Box<dyn IovaAllocator>> = vec![Box::new(iova::Ours::new()?), Box::new(iova::Buddy::new())];
//! let took = iova::pair(contestants, 4096, 10, Effort { rounds: 3, ..Effort::default() })?;
//! assert_eq!(took[0].peer, "dmamap");
//! assert!(took[0].phases[0].median > 0.0);
//! # Ok::<(), peers::PeersError>(())
//! ```

pub mod bounce;
pub mod cpus;
pub mod frames;
pub mod iova;
pub mod item;
pub mod linux;
pub mod mapping;
pub mod measure;
pub mod pinning;
pub mod report;
pub mod spin_lock;
pub mod statistics;
pub mod table;
pub mod undisturbed;

use std::path::PathBuf;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The library with Linux's code is not what was compiled for this program.
    #[error("{}: {what}", path.display())]
    Library {
        /// Which library.
        path: PathBuf,
        /// What the loader says.
        what: String,
    },
    /// A contestant could not do what every one must.
    #[error("{peer} could not {what}")]
    Failed {
        /// The contestant.
        peer: &'static str,
        /// What it was to do.
        what: &'static str,
    },
    /// The system did not say, or not change, where a thread runs.
    #[error("the CPU to run on could not be chosen: {0}")]
    Pinning(#[from] rustix::io::Errno),
}

impl PeersError {
    pub(crate) fn failed(peer: &'static str, what: &'static str) -> Self {
        Self::Failed { peer, what }
    }
}

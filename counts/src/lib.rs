//! Loops over the paths that every map and unmap takes, for a tool that counts instructions.
//!
//! `cargo xtask bench --counts` runs the program of this package under Valgrind's Callgrind and divides what it counted by the
//! rounds of each loop. What is counted is the layer's own work, and of its platform what a kernel pays too: a lock that nobody
//! holds, arithmetic between addresses.
//!
//! - [`plain`] is a platform as cheap as a kernel's: the port of [`hosted`] without what only a process has to do
//! - [`computer`] boots a machine whose unit answers before the register write returns that asks it ([`machine::at_once`]), and attaches a device
//! - [`counted`] is the frame around a loop that the tool is told of
//! - [`loads`] are the paths
//!
//! ```
//! // Each path is warmed up, then counted with two numbers of rounds.
//! let mut loops = Vec::new();
//! counts::loads::run("page table map and unmap 4K", &mut |name, rounds| loops.push((name.to_owned(), rounds)))?;
//! assert_eq!(loops.len(), 2);
//! assert!(loops[0].1 < loops[1].1);
//! # Ok::<(), counts::CountsError>(())
//! ```

pub mod computer;
pub mod counted;
pub mod loads;
pub mod plain;

/// Why a path could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum CountsError {
    /// A part of the set-up is not to be had.
    #[error("{what}: {error}")]
    SetUp {
        /// The part.
        what: &'static str,
        /// Why not.
        error: String,
    },
    /// A path did not do what it is there for.
    #[error("{path}: {error}")]
    Path {
        /// Its name.
        path: &'static str,
        /// What it answered.
        error: String,
    },
}

impl CountsError {
    /// The error of a part of the set-up, for `map_err`.
    pub fn set_up<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::SetUp {
            what,
            error: error.to_string(),
        }
    }
}

//! The paths. Each is walked until it is warm, and then counted twice, with different numbers of rounds: what is not of the
//! rounds is the same in both, and falls out of the difference.
//!
//! - [`iova`]: a pair of the allocator of bus addresses, under a lock as a domain's
//! - [`table`]: a pair of a page table
//! - [`lent`]: whole calls of a driver, from the buffer to the unit and back
//! - [`raw`]: the same by addresses without owners
//! - [`copied`]: the same where the device is given copies
//!
//! ```
//! let mut names = Vec::new();
//! counts::loads::run("iova", &mut |name, _| names.push(name.to_owned()))?;
//! assert_eq!(names.first().map(String::as_str), Some("iova pair 4K"));
//! # Ok::<(), counts::CountsError>(())
//! ```

pub mod copied;
pub mod iova;
pub mod lent;
pub mod raw;
pub mod table;

use crate::CountsError;
use crate::counted::counted;

/// Rounds until a path is warm: the memory it takes is there, and what it keeps between calls is as it will be.
pub const WARM_UP: u64 = 1024;
/// Rounds of the shorter loop. A multiple of what [share a flush](crate::computer::FLUSH_ENTRIES), so that whole flushes are counted.
pub const SHORT: u64 = 512;
/// Rounds of the longer loop.
pub const LONG: u64 = 1536;

/// Told of each loop before it begins: the path's name, and the rounds.
pub type Report<'a> = &'a mut dyn FnMut(&str, u64);

/// Given each path, warm: its name, and a round of it.
pub type Visit<'a> = &'a mut dyn FnMut(&'static str, &mut dyn FnMut());

/// Has all paths counted whose name contains `only`.
///
/// # Errors
/// [`CountsError`] of the first that cannot be walked.
pub fn run(only: &str, report: Report<'_>) -> Result<(), CountsError> {
    each(only, &mut |name, round| {
        for rounds in [SHORT, LONG] {
            report(name, rounds);
            counted(rounds, round);
        }
    })
}

/// Hands `visit` all paths whose name contains `only`.
///
/// # Errors
/// [`CountsError`] of the first that cannot be walked.
pub fn each(only: &str, visit: Visit<'_>) -> Result<(), CountsError> {
    let mut paths = Paths { only, visit };
    iova::run(&mut paths)?;
    table::run(&mut paths)?;
    lent::run(&mut paths)?;
    raw::run(&mut paths)?;
    copied::run(&mut paths)
}

/// Those that are wanted, and who is given them.
pub struct Paths<'a> {
    only: &'a str,
    visit: Visit<'a>,
}

impl Paths<'_> {
    /// Whether any of `names` is wanted.
    pub fn want(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.contains(self.only))
    }

    /// Walks `path`, if it is wanted. It is one round.
    ///
    /// # Errors
    /// That of the last round that failed.
    pub fn walk<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        mut path: impl FnMut() -> Result<(), E>,
    ) -> Result<(), CountsError> {
        if !self.want(&[name]) {
            return Ok(());
        }
        let mut outcome = Ok(());
        let mut round = || {
            if let Err(error) = path() {
                outcome = Err(error);
            }
        };
        (0..WARM_UP).for_each(|_| round());
        (self.visit)(name, &mut round);
        outcome.map_err(|error| CountsError::Path {
            path: name,
            error: error.to_string(),
        })
    }
}

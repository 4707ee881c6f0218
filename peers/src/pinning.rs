//! Which CPU a thread runs on: moving to another one costs it its caches.
//!
//! ```
//! let cpus = peers::pinning::allowed()?;
//! peers::pinning::pin(cpus[0])?;
//! assert_eq!(peers::pinning::allowed()?, [cpus[0]]);
//! # Ok::<(), peers::PeersError>(())
//! ```

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::PeersError;

/// The CPUs this thread may run on, the lowest number first.
///
/// # Errors
/// [`PeersError::Pinning`].
pub fn allowed() -> Result<Vec<usize>, PeersError> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Lets this thread run on `cpu` and nowhere else.
///
/// # Errors
/// [`PeersError::Pinning`], also when it may not run there.
pub fn pin(cpu: usize) -> Result<(), PeersError> {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL.into());
    }
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_does_not_exist_is_refused() {
        let before = allowed().unwrap();
        assert!(pin(CpuSet::MAX_CPU).is_err());
        assert_eq!(allowed().unwrap(), before);
    }
}

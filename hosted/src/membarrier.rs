//! The barrier that a thread has all others execute, which Linux does for a process that asked for it once.
//!
//! It comes to a thread wherever that runs, or has come by the time it runs again: what the thread holds, and whether it
//! takes interrupts (which here are threads too), does not matter.

use std::io;
use std::sync::OnceLock;

use rustix::thread::{MembarrierCommand, membarrier};

/// Whether [`fence_all`] can be. Miri has no such call.
pub(crate) fn is_there() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        !cfg!(miri) && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    })
}

/// Has all threads of this process execute a barrier.
///
/// # Errors
/// Where it [is not there](is_there).
pub(crate) fn fence_all() -> io::Result<()> {
    Ok(membarrier(MembarrierCommand::PrivateExpedited)?)
}

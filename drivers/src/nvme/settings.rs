//! What a driver's user may choose.

use core::time::Duration;

use super::slots::MAX_SLOTS;

/// Most I/O queue pairs of one controller.
pub const MAX_QUEUES: usize = 8;
/// Most commands one queue pair may have outstanding.
pub const MAX_QUEUE_DEPTH: usize = MAX_SLOTS;

/// How the driver learns that a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The controller sends a message; polling where it cannot
    /// ([`completion_mode`](super::Nvme::completion_mode) says why).
    Interrupt,
    /// The driver looks again and again.
    Polling,
}

/// Choices for one controller. Numbers beyond what driver or controller can do are lowered to that.
///
/// ```
/// use drivers::nvme::Settings;
///
/// let settings = Settings { queues: 4, queue_depth: 64, ..Settings::default() };
/// assert_eq!(settings.namespace, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// I/O queue pairs: 1 to [`MAX_QUEUES`].
    pub queues: usize,
    /// Commands each may have outstanding: 1 to [`MAX_QUEUE_DEPTH`].
    pub queue_depth: usize,
    /// How ends of commands are learned.
    pub completion: Completion,
    /// The namespace read and written.
    pub namespace: u32,
    /// Most bytes of one command.
    pub max_transfer_bytes: u64,
    /// How long a command may take before the controller is taken for dead.
    pub command_timeout: Duration,
    /// How long the controller may take to start or stop: as long as it asks for (`CAP.TO`), but no longer than
    /// this.
    pub ready_timeout: Duration,
    /// How long the controller may take to shut down.
    pub shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_depth: 32,
            completion: Completion::Interrupt,
            namespace: 1,
            max_transfer_bytes: 1 << 20,
            command_timeout: Duration::from_secs(30),
            ready_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

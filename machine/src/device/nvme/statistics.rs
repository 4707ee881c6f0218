//! What a disk counts while it works, for whoever built the machine to ask.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::rogue::{Breach, MAX_BREACHES, RogueReport};

/// What a disk has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NvmeStatistics {
    /// Admin commands fetched.
    pub admin_commands: u64,
    /// I/O commands fetched.
    pub io_commands: u64,
    /// Completions posted with an error status.
    pub errors: u64,
    /// Bytes of blocks that read commands put into memory.
    pub bytes_read: u64,
    /// Bytes of blocks that write commands took from memory.
    pub bytes_written: u64,
    /// Interrupts requested of the MSI-X table.
    pub interrupts: u64,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) admin_commands: AtomicU64,
    pub(crate) io_commands: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) interrupts: AtomicU64,
    rogue: Mutex<RogueReport>,
}

impl Counters {
    pub(crate) fn statistics(&self) -> NvmeStatistics {
        NvmeStatistics {
            admin_commands: self.admin_commands.load(Relaxed),
            io_commands: self.io_commands.load(Relaxed),
            errors: self.errors.load(Relaxed),
            bytes_read: self.bytes_read.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            interrupts: self.interrupts.load(Relaxed),
        }
    }

    pub(crate) fn rogue_report(&self) -> RogueReport {
        self.rogue.lock().clone()
    }

    /// A rogue disk tried something; `breach` if it was carried out.
    pub(crate) fn rogue_attempt(&self, breach: Option<Breach>) {
        let mut report = self.rogue.lock();
        report.attempts += 1;
        if let Some(breach) = breach {
            report.breaches_total += 1;
            if report.breaches.len() < MAX_BREACHES {
                report.breaches.push(breach);
            }
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

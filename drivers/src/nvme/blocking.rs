//! One command at a time, for callers in no hurry.

use dmamap::platform::Platform;

use super::Nvme;
use super::command::{Blocks, Command};
use super::data::DiskMemory;
use super::error::{CommandError, Failed};
use super::io_queue::Data;

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Reads `blocks` into the first bytes of `buffer` and waits for it.
    ///
    /// # Errors
    /// As [`submit_read`](Self::submit_read) and [`complete`](Self::complete).
    pub fn read(&mut self, blocks: Blocks, buffer: B) -> Result<B, Failed<B>> {
        let ticket = self.submit_read(0, blocks, buffer)?;
        self.complete(ticket)
    }

    /// Writes `blocks` from the first bytes of `buffer` and waits for it. What was written lasts after
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`submit_write`](Self::submit_write) and [`complete`](Self::complete).
    pub fn write(&mut self, blocks: Blocks, buffer: B) -> Result<B, Failed<B>> {
        let ticket = self.submit_write(0, blocks, buffer)?;
        self.complete(ticket)
    }

    /// Makes every write that was completed before last, and waits for it.
    ///
    /// # Errors
    /// [`CommandError`] if it cannot; queue 0 must have room for one command.
    pub fn flush(&mut self) -> Result<(), CommandError> {
        self.check_queue(0)?;
        let namespace = self.namespace.id();
        let flush = |_| Command::flush(namespace);
        let ticket = self
            .submit(0, Data::None, 0, flush)
            .map_err(|failed| failed.error)?;
        self.finish(ticket).map(drop).map_err(|failed| failed.error)
    }
}

//! The way back: queues deleted, the disk told, the controller stopped, the device handed back.

use dmamap::device::Device;
use dmamap::platform::Platform;

use super::Nvme;
use super::command::Command;
use super::data::DiskMemory;
use super::error::{CommandError, ShutdownError, ShutdownFailed};

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Shuts the controller down and returns the device, to be detached or started again.
    ///
    /// Commands whose tickets were not [completed](Self::complete) are ended and their memory is freed. The
    /// claim on the registers is released.
    ///
    /// # Errors
    /// [`ShutdownFailed`], with the device, if the controller did not do its part; it was stopped all the same.
    pub fn shutdown(mut self) -> Result<Device<P>, ShutdownFailed<P>> {
        let outcome = self.stop_in_order();
        let Self { engine, device, .. } = self;
        // Cuts the controller off (again), then frees its memory and interrupts.
        drop(engine);
        match outcome {
            Ok(()) => Ok(device),
            Err(error) => Err(ShutdownFailed { error, device }),
        }
    }

    /// Each step is tried even if one before it failed; the first error is told.
    fn stop_in_order(&mut self) -> Result<(), ShutdownError> {
        if let Some(reason) = self.lost {
            return Err(reason.into());
        }
        let deleted = self.delete_queues();
        let announced = self
            .engine
            .controller
            .notify_shutdown(self.settings.shutdown_timeout);
        let stopped = self.engine.controller.cut_off();
        deleted?;
        announced?;
        stopped?;
        Ok(())
    }

    /// Submission queues before the completion queues they report to (Base 5.6).
    fn delete_queues(&mut self) -> Result<(), CommandError> {
        let admin = &mut self.engine.admin;
        for queue in self.engine.queues.iter().rev() {
            let id = queue.pair().id();
            admin.execute(Command::delete_submission_queue(id))?;
            admin.execute(Command::delete_completion_queue(id))?;
        }
        Ok(())
    }
}

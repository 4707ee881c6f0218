//! Waiting for the ends of commands, and giving their memory back.

use dmamap::platform::Platform;

use super::Nvme;
use super::data::DiskMemory;
use super::error::{CommandError, ControllerError, Failed};
use super::slots::SlotTicket;
use super::submit::Ticket;
use crate::wait::Deadline;

/// How long the driver waits for a completion before it looks at the controller's status and the time.
const HEALTH_CHECK_NS: u64 = 100_000_000;

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Waits until the command ended and the device has lost its memory, and gives the memory back.
    ///
    /// A command that takes longer than [`command_timeout`](super::Settings::command_timeout) stops the
    /// controller: only so is its memory safe to have back.
    ///
    /// # Errors
    /// [`Failed`], with the memory unless the device may still reach it.
    pub fn complete(&mut self, ticket: Ticket) -> Result<B, Failed<B>> {
        let buffer = self.finish(ticket)?;
        // Only tickets of reads and writes leave this module.
        buffer.ok_or_else(|| Failed::without_buffer(CommandError::ForeignTicket))
    }

    /// Waits for the end of any command; `None` for one that has no memory.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Result<Option<B>, Failed<B>> {
        let foreign = || Failed::without_buffer(CommandError::ForeignTicket);
        if ticket.controller != self.device.requester() || ticket.queue >= self.queue_count() {
            return Err(foreign());
        }
        // A controller that was stopped ended all its commands, and nothing it wrote is looked at any more.
        if self.lost.is_none()
            && let Err(reason) = self.wait(ticket.queue, ticket.slot)
        {
            let device = self.device.requester();
            match reason {
                // Somebody pulled it out: nothing is wrong with it.
                ControllerError::Removed => log::warn!("{device}: the disk is over: {reason}"),
                _ => log::error!("{device}: the controller is stopped: {reason}"),
            }
            self.lost = Some(reason);
            self.engine.stop(reason);
        }
        let ended = self.engine.queues[ticket.queue].take(ticket.slot);
        let (in_flight, result) = ended.ok_or_else(foreign)?;
        match (in_flight.data.unmap(), result) {
            (Ok(buffer), Ok(())) => Ok(buffer),
            (Ok(buffer), Err(error)) => Err(Failed { error, buffer }),
            (Err(quarantined), _) => Err(Failed::without_buffer(quarantined)),
        }
    }

    /// Waits until the command is no longer outstanding.
    ///
    /// # Errors
    /// What is wrong with the controller, if it is: it must then be stopped.
    fn wait(&mut self, queue: usize, slot: SlotTicket) -> Result<(), ControllerError> {
        let platform = self.device.platform();
        let mut check_health_ns = platform.now_ns().saturating_add(HEALTH_CHECK_NS);
        let mut deadline = None;
        loop {
            let queue = &mut self.engine.queues[queue];
            // Counted before the queue is looked at: an interrupt after the look ends the wait below at once.
            let seen = queue
                .interrupt()
                .map(|interrupt| platform.interrupt_count(interrupt));
            // Read before the queue is looked at, too: time that passes after the look is not the device's.
            let now_ns = platform.now_ns();
            queue.reap()?;
            let Some(command) = queue.outstanding_command(slot) else {
                return Ok(());
            };
            let deadline = deadline.get_or_insert_with(|| {
                Deadline::after(command.submitted_ns, self.settings.command_timeout)
            });
            if deadline.has_passed(now_ns) {
                let waited_ns = now_ns.saturating_sub(command.submitted_ns);
                return Err(queue.timed_out(slot.id(), command.operation, waited_ns));
            }
            if now_ns >= check_health_ns {
                self.engine.controller.check_health()?;
                check_health_ns = now_ns.saturating_add(HEALTH_CHECK_NS);
            }
            match (queue.interrupt(), seen) {
                (Some(interrupt), Some(seen)) => {
                    platform.wait_for_interrupt(interrupt, seen, check_health_ns);
                }
                _ => platform.relax(),
            }
        }
    }
}

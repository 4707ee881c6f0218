//! The controller with its queues: all that shares memory with the device.

use alloc::vec::Vec;

use dmamap::platform::Platform;

use super::admin::AdminQueue;
use super::controller::Controller;
use super::data::DiskMemory;
use super::error::ControllerError;
use super::interrupts::Interrupts;
use super::io_queue::IoQueue;

/// Controller and queues, in the order in which they may go: the controller is cut off from memory before any
/// memory is given back.
pub(super) struct Engine<P: Platform, B: DiskMemory<P>> {
    pub(super) controller: Controller<P>,
    pub(super) admin: AdminQueue<P>,
    pub(super) queues: Vec<IoQueue<P, B>>,
    pub(super) interrupts: Option<Interrupts<P>>,
}

impl<P: Platform, B: DiskMemory<P>> Engine<P, B> {
    /// Stops a controller that failed; what is outstanding ends with `reason`.
    pub(super) fn stop(&mut self, reason: ControllerError) {
        // Whether it obeyed or lost its bus mastering: it uses no memory any more.
        let _ = self.controller.cut_off();
        for queue in &mut self.queues {
            queue.fail_all(reason);
        }
    }
}

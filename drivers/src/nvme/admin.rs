//! The admin queue: one command at a time, polled, at bring-up and shutdown.

use core::time::Duration;

use dmamap::device::Device;
use dmamap::map::{Coherent, CoherentError};
use dmamap::platform::Platform;
use hw::nvme::identify::{DATA_BYTES, IdentifyController, IdentifyNamespace};

use super::command::Command;
use super::error::{CommandError, ControllerError};
use super::queue::QueuePair;
use crate::wait::{as_ms, wait_until};

/// Entries of each admin ring; one command at a time needs two.
pub(super) const ADMIN_ENTRIES: u32 = 16;

/// Why identify data can be read.
const WHOLE_PAGE: &str = "identify data is as long as the page it is read from";

/// The admin queue.
pub(super) struct AdminQueue<P: Platform> {
    platform: P,
    pair: QueuePair<P>,
    next_id: u16,
    timeout: Duration,
    /// What identify commands fill.
    data: Coherent<P, u8>,
}

impl<P: Platform> AdminQueue<P> {
    pub(super) fn new(
        device: &Device<P>,
        pair: QueuePair<P>,
        timeout: Duration,
    ) -> Result<Self, CoherentError> {
        let data = device.alloc_coherent(DATA_BYTES)?;
        Ok(Self {
            platform: device.platform(),
            pair,
            next_id: 0,
            timeout,
            data,
        })
    }

    /// The rings, to tell the controller of.
    pub(super) fn pair(&self) -> &QueuePair<P> {
        &self.pair
    }

    /// What the controller says of itself.
    pub(super) fn identify_controller(&mut self) -> Result<IdentifyController, CommandError> {
        self.execute(Command::identify_controller(self.data.bus_addr()))?;
        Ok(self.data.read_at(0).expect(WHOLE_PAGE))
    }

    /// What the controller says of a namespace.
    pub(super) fn identify_namespace(
        &mut self,
        namespace: u32,
    ) -> Result<IdentifyNamespace, CommandError> {
        self.execute(Command::identify_namespace(namespace, self.data.bus_addr()))?;
        Ok(self.data.read_at(0).expect(WHOLE_PAGE))
    }

    /// Runs `command` and returns its result (dword 0 of the completion).
    pub(super) fn execute(&mut self, command: Command) -> Result<u32, CommandError> {
        let id = self.next_id;
        // 0xffff is kept free: error log pages use it for "no command".
        self.next_id = (id + 1) % 0xffff;
        self.pair.submit(command.with_id(id));
        let (queue, operation) = (self.pair.id(), command.operation);
        let completed = wait_until(&self.platform, self.timeout, || {
            self.pair.next_completion().transpose()
        });
        let waited_ms = as_ms(self.timeout);
        let timed_out = ControllerError::TimedOut {
            queue,
            id,
            operation,
            waited_ms,
        };
        let completion = completed.unwrap_or(Err(timed_out))?;
        self.pair.release_completions();
        if completion.id != id {
            let id = completion.id;
            return Err(ControllerError::UnexpectedCompletion { queue, id }.into());
        }
        if !completion.status.is_success() {
            return Err(CommandError::Status {
                operation,
                status: completion.status,
            });
        }
        Ok(completion.value)
    }
}

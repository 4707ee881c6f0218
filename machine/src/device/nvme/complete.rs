//! Completions: how a command's end reaches the driver.

use hw::nvme::completion::{CompletionQueueDword, CompletionResultDword};
use hw::nvme::{CompletionEntry, StatusField};
use zerocopy::IntoBytes;

use super::engine::{End, Engine};
use super::queue::Phase;
use super::statistics::count;
use super::window::Command;

impl Engine {
    /// Tells the driver how `command` ended, or does what its end demands instead.
    pub(super) fn finish(&mut self, command: &Command, result: Result<u32, End>) {
        self.shared.release(command.queue);
        let result = match result {
            Ok(value) => Ok(value),
            Err(End::Status(status)) => Err(status),
            Err(End::Never) => return,
            Err(End::Fatal) => return self.shared.fatal(),
        };
        self.complete(command.queue, command.dword0().cid(), result);
    }

    /// Posts a completion and raises the queue's interrupt.
    pub(super) fn complete(
        &mut self,
        queue: u16,
        command_id: u16,
        result: Result<u32, StatusField>,
    ) {
        self.post(queue, command_id, result, |phase| phase);
    }

    /// The same with the phase bit that `phase` makes of the right one.
    pub(super) fn post(
        &mut self,
        queue: u16,
        command_id: u16,
        result: Result<u32, StatusField>,
        phase: impl FnOnce(Phase) -> Phase,
    ) {
        let Some(slot) = self.shared.next_slot(queue) else {
            return;
        };
        self.told(slot.bus, size_of::<CompletionEntry>() as u64);
        if result.is_err() {
            count(&self.shared.counters.errors, 1);
        }
        let about = CompletionQueueDword::new()
            .with_sqhd(slot.submission_head)
            .with_sqid(queue);
        let end = CompletionResultDword::new()
            .with_cid(command_id)
            .with_p(phase(slot.phase) == Phase::One)
            .with_sf(result.err().unwrap_or_default());
        let entry = CompletionEntry {
            dw0: result.unwrap_or(0),
            dw1: 0,
            dw2: about.into_bits(),
            dw3: end.into_bits(),
        };
        // The phase bit tells that the entry is whole, so its dword goes last.
        let (rest, last) = entry.as_bytes().split_at(12);
        let dma = self.port.dma();
        let written = dma
            .write(slot.bus, rest)
            .and_then(|()| dma.write(slot.bus.wrapping_add(12), last));
        if let Err(error) = written {
            return self.cut_off("posting a completion", slot.bus, error);
        }
        if let Some(vector) = slot.vector {
            count(&self.shared.counters.interrupts, 1);
            self.port.raise(vector);
        }
    }
}

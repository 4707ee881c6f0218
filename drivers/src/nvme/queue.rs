//! A queue pair: two rings in coherent memory, and the doorbells that tell the controller how far we are.

use core::mem::offset_of;

use dmamap::device::Device;
use dmamap::map::{Coherent, CoherentError, Descriptors, Published};
use dmamap::mmio::Register;
use dmamap::platform::Platform;
use hw::nvme::completion::CompletionResultDword;
use hw::nvme::{CompletionEntry, SubmissionEntry};

use super::command::QueueMemory;
use super::completion::Completion;
use super::error::ControllerError;
use super::ring::{Phase, Ring};

/// Why ring accesses cannot fail.
const IN_RING: &str = "a ring's index is below the number of entries allocated for it";

/// Completion entries are handed over by the dword with the phase bit.
enum CompletionPhase {}

impl Published for CompletionPhase {
    type Entry = CompletionEntry;
    type Flag = u32;
    const FLAG_OFFSET: usize = offset_of!(CompletionEntry, dw3);
}

/// The registers of one queue pair.
pub(super) struct Doorbells<P: Platform> {
    /// Of the submission queue.
    pub(super) tail: Register<P, u32>,
    /// Of the completion queue.
    pub(super) head: Register<P, u32>,
}

/// A submission queue and the completion queue of the same number and length.
///
/// The owner has at most `entries - 1` commands outstanding: so the controller has fetched what a new command
/// would overwrite, and has room for every completion.
pub(super) struct QueuePair<P: Platform> {
    platform: P,
    id: u16,
    submissions: Coherent<P, SubmissionEntry>,
    completions: Descriptors<Coherent<P, CompletionEntry>, CompletionPhase>,
    doorbells: Doorbells<P>,
    tail: Ring,
    head: Ring,
}

impl<P: Platform> QueuePair<P> {
    /// Allocates both rings, zeroed: no entry of phase 1, the controller's first, is in them.
    pub(super) fn allocate(
        device: &Device<P>,
        id: u16,
        entries: u32,
        doorbells: Doorbells<P>,
    ) -> Result<Self, CoherentError> {
        Ok(Self {
            platform: device.platform(),
            id,
            submissions: device.alloc_coherent(entries as usize)?,
            completions: Descriptors::new(device.alloc_coherent(entries as usize)?),
            doorbells,
            tail: Ring::new(entries),
            head: Ring::new(entries),
        })
    }

    /// The queue's number, 0 for the admin queue.
    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// Where commands lie.
    pub(super) fn submission_memory(&self) -> QueueMemory {
        let entries = self.tail.entries();
        QueueMemory {
            id: self.id,
            at: self.submissions.bus_addr(),
            entries,
        }
    }

    /// Where completions lie.
    pub(super) fn completion_memory(&self) -> QueueMemory {
        let entries = self.head.entries();
        QueueMemory {
            id: self.id,
            at: self.completions.bus_addr(),
            entries,
        }
    }

    /// Gives the controller a command.
    pub(super) fn submit(&mut self, entry: SubmissionEntry) {
        self.submissions
            .write(self.tail.index() as usize, entry)
            .expect(IN_RING);
        self.tail.advance();
        // The entry, and the PRP list it names, must be in memory before the doorbell sends the controller
        // to fetch them.
        self.platform.dma_wmb();
        self.doorbells.tail.write_relaxed(self.tail.index());
    }

    /// The next completion, if the controller has written one. [`release_completions`](Self::release_completions)
    /// gives its place back.
    pub(super) fn next_completion(&mut self) -> Result<Option<Completion>, ControllerError> {
        let index = self.head.index() as usize;
        // Read once: what is judged here is what is used below, whatever the device writes meanwhile. The rest of the
        // entry, and the data the command moved, are read after it.
        let is_new =
            |dw3| Phase::of(CompletionResultDword::from_bits(dw3).p()) == self.head.phase();
        let Some(entry) = self.completions.consume(index, is_new).expect(IN_RING) else {
            return Ok(None);
        };
        let completion = Completion::check(entry, self.id, self.tail.entries())?;
        self.head.advance();
        Ok(Some(completion))
    }

    /// Tells the controller that the completions taken so far may be overwritten.
    pub(super) fn release_completions(&mut self) {
        // They must have been read before the controller learns that it may.
        self.platform.dma_mb();
        self.doorbells.head.write_relaxed(self.head.index());
    }
}

//! The controller's own processor: fetches commands, executes them, posts completions.
//!
//! One thread. It touches memory only through its [`FunctionPort`], so that after `CSTS.RDY` told the end of a reset no
//! access of the controller is on its way.

use std::sync::Arc;

use hw::nvme::command::Dword0;
use hw::nvme::completion::{CompletionQueueDword, CompletionResultDword};
use hw::nvme::regs::ShutdownNotification;
use hw::nvme::{CompletionEntry, Status, StatusField, SubmissionEntry};
use zerocopy::{FromZeros, IntoBytes};

use super::backing::Backing;
use super::config::Misbehaviour;
use super::prp::{Prp, PrpError};
use super::queue::{Fetch, Phase};
use super::rogue::Rogue;
use super::shared::{Shared, Task};
use super::statistics::count;
use crate::bus::{BusRun, DmaError};
use crate::findings::FindingKind;
use crate::pci::function::FunctionPort;

/// What a controller is made of besides its registers.
pub(crate) struct Disk {
    /// The blocks.
    pub(crate) backing: Backing,
    /// `MDTS`: largest transfer, as a power of two of 4 KiB pages.
    pub(crate) max_transfer_pages_log2: u8,
    /// Most pairs of I/O queues.
    pub(crate) io_queues: u16,
    /// Serial number.
    pub(crate) serial: String,
    /// Deliberate faults.
    pub(crate) misbehaviour: Misbehaviour,
    /// The bad side.
    pub(crate) rogue: Option<Rogue>,
}

/// How a command ended, if not well.
#[derive(Debug)]
pub(crate) enum End {
    /// With an error status.
    Status(StatusField),
    /// Not: it is kept, or forgotten.
    Never,
    /// With the controller's own end.
    Fatal,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status.into())
    }
}

/// The processor.
pub(crate) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) port: FunctionPort,
    pub(super) disk: Disk,
    /// The command's data on its way between file and memory.
    pub(super) buffer: Vec<u8>,
    /// Where the command's data lies.
    pub(super) runs: Vec<BusRun>,
    /// I/O commands executed.
    pub(super) io_commands: u64,
    /// Bytes that read commands transferred.
    pub(super) read_bytes: u64,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, port: FunctionPort, disk: Disk) -> Self {
        Self {
            shared,
            port,
            disk,
            buffer: Vec::new(),
            runs: Vec::new(),
            io_commands: 0,
            read_bytes: 0,
        }
    }

    /// Works until the controller is stopped.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.next_task(self.disk.misbehaviour.never_ready) {
                Task::Stop => return,
                Task::Shutdown(kind) => self.shut_down(kind),
                Task::Report(report) => {
                    self.complete(0, report.command_id, Ok(report.event.0));
                }
                Task::Command(fetch) => self.execute(fetch),
            }
        }
    }

    fn shut_down(&self, kind: ShutdownNotification) {
        if kind == ShutdownNotification::Normal
            && let Err(error) = self.disk.backing.flush()
        {
            log::error!("flush at shutdown: {error}");
        }
        self.shared.shutdown_done();
    }

    fn execute(&mut self, fetch: Fetch) {
        self.told(fetch.bus, size_of::<SubmissionEntry>() as u64);
        let mut entry = SubmissionEntry::new_zeroed();
        if let Err(error) = self.port.dma().read(fetch.bus, entry.as_mut_bytes()) {
            return self.cut_off("fetching a command", fetch.bus, error);
        }
        let dword0 = Dword0::from_bits(entry.cdw0);
        let counters = &self.shared.counters;
        if fetch.queue == 0 {
            count(&counters.admin_commands, 1);
            let result = self.admin(dword0, &entry);
            self.finish(fetch.queue, dword0.cid(), result);
        } else {
            count(&counters.io_commands, 1);
            let number = self.io_commands;
            self.io_commands += 1;
            let result = self.io(number, dword0, &entry);
            self.finish_io(number, fetch.queue, dword0.cid(), result);
        }
    }

    pub(super) fn finish(&mut self, queue: u16, command_id: u16, result: Result<u32, End>) {
        let result = match result {
            Ok(value) => Ok(value),
            Err(End::Status(status)) => Err(status),
            Err(End::Never) => return,
            Err(End::Fatal) => return self.shared.fatal(),
        };
        self.complete(queue, command_id, result);
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

    /// The controller cannot reach its queues: the fatal status.
    fn cut_off(&self, doing: &str, bus: u64, error: DmaError) {
        self.shared.report(
            FindingKind::ProtocolViolation,
            format!("{doing} at bus {bus:#x}: {error}"),
        );
        self.shared.fatal();
    }

    /// Finds where the `len_bytes` bytes of a command's data lie.
    pub(super) fn locate(&mut self, entry: &SubmissionEntry, len_bytes: u64) -> Result<(), End> {
        let page_bytes = self.shared.state.lock().registers.page_bytes();
        let prp = Prp {
            first: entry.prp1,
            second: entry.prp2,
            page_bytes,
        };
        let dma = self.port.dma();
        let rogue = &mut self.disk.rogue;
        let walked = prp.walk(len_bytes, &mut self.runs, |bus, into| {
            if let Some(rogue) = rogue {
                rogue.told(bus, into.len() as u64);
            }
            dma.read(bus, into)
        });
        walked.map_err(|error| match error {
            PrpError::Offset { entry } => {
                log::warn!("PRP entry {entry:#x} has an offset where none is allowed");
                Status::PrpOffsetInvalid
            }
            PrpError::List { bus, source } => {
                log::warn!("PRP list at {bus:#x}: {source}");
                Status::DataTransferError
            }
        })?;
        if let Some(rogue) = rogue {
            self.runs
                .iter()
                .for_each(|run| rogue.told(run.bus, run.len_bytes));
        }
        Ok(())
    }

    /// Moves the first bytes of the buffer to where the command wants them.
    pub(super) fn scatter(&self) -> Result<(), End> {
        let mut rest = &self.buffer[..];
        for run in &self.runs {
            let (piece, after) = rest.split_at(run.len_bytes as usize);
            rest = after;
            self.port
                .dma()
                .write(run.bus, piece)
                .map_err(|error| transfer_failed(run, error))?;
        }
        Ok(())
    }

    /// Moves what the command gives into the first bytes of the buffer.
    pub(super) fn gather(&mut self) -> Result<(), End> {
        let mut rest = &mut self.buffer[..];
        for run in &self.runs {
            let (piece, after) = rest.split_at_mut(run.len_bytes as usize);
            rest = after;
            self.port
                .dma()
                .read(run.bus, piece)
                .map_err(|error| transfer_failed(run, error))?;
        }
        Ok(())
    }

    /// The first `len_bytes` bytes of the buffer, which grows to hold them.
    pub(super) fn grow_buffer(&mut self, len_bytes: u64) {
        let len = len_bytes as usize;
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
    }

    fn told(&mut self, bus: u64, len_bytes: u64) {
        if let Some(rogue) = &mut self.disk.rogue {
            rogue.told(bus, len_bytes);
        }
    }
}

fn transfer_failed(run: &BusRun, error: DmaError) -> End {
    log::warn!("data at bus {:#x}: {error}", run.bus);
    Status::DataTransferError.into()
}

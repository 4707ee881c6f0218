//! The controller's own processor: fetches commands, executes them, posts completions.
//!
//! One thread. It touches memory only through its [`FunctionPort`], so after `CSTS.RDY` told the end of a
//! reset no access of the controller is on its way.

use std::sync::Arc;

use hw::nvme::regs::ShutdownNotification;
use hw::nvme::{Status, StatusField, SubmissionEntry};
use zerocopy::{FromZeros, IntoBytes};

use super::backing::Backing;
use super::config::{CompletionOrder, Misbehaviour};
use super::queue_set::Fetch;
use super::rogue::Rogue;
use super::shared::{Shared, Task};
use super::statistics::count;
use super::window::{Command, Window};
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
    /// In which order commands are executed.
    pub(crate) order: CompletionOrder,
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
    /// I/O commands to execute.
    pub(super) window: Window,
    /// A command's data on its way between file and memory.
    pub(super) buffer: Vec<u8>,
    /// Where a command's data lies.
    pub(super) runs: Vec<BusRun>,
    /// I/O commands fetched.
    io_commands: u64,
    /// Bytes that read commands transferred.
    pub(super) read_bytes: u64,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, port: FunctionPort, disk: Disk) -> Self {
        Self {
            shared,
            port,
            window: Window::new(disk.order),
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
            let never_ready = self.disk.misbehaviour.never_ready;
            match self.shared.next_task(never_ready, self.window.backlog()) {
                Task::Stop => return,
                Task::Reset => {
                    self.window.clear();
                    self.shared.reset_done();
                }
                Task::Shutdown(kind) => self.shut_down(kind),
                Task::Report(report) => {
                    self.complete(0, report.command_id, Ok(report.event.0));
                }
                Task::Fetch(fetch) => self.fetch(fetch),
                Task::Execute => self.execute(),
            }
        }
    }

    fn shut_down(&mut self, kind: ShutdownNotification) {
        while let Some(command) = self.window.take() {
            self.io_command(&command);
        }
        if kind == ShutdownNotification::Normal
            && let Err(error) = self.disk.backing.flush()
        {
            log::error!("flush at shutdown: {error}");
        }
        self.shared.shutdown_done();
    }

    /// Admin commands are executed at once, I/O commands when their turn comes.
    fn fetch(&mut self, Fetch { queue, bus }: Fetch) {
        self.told(bus, size_of::<SubmissionEntry>() as u64);
        let mut entry = SubmissionEntry::new_zeroed();
        if let Err(error) = self.port.dma().read(bus, entry.as_mut_bytes()) {
            return self.cut_off("fetching a command", bus, error);
        }
        let counters = &self.shared.counters;
        let number = self.io_commands;
        let command = Command {
            queue,
            number,
            entry,
        };
        if queue == 0 {
            count(&counters.admin_commands, 1);
            let result = self.admin(command.dword0(), &entry);
            self.finish(&command, result);
        } else {
            count(&counters.io_commands, 1);
            self.io_commands += 1;
            self.window.push(command);
        }
    }

    fn execute(&mut self) {
        if let Some(command) = self.window.take() {
            self.io_command(&command);
        }
    }

    /// The controller cannot reach its queues: the fatal status.
    pub(super) fn cut_off(&self, doing: &str, bus: u64, error: DmaError) {
        // A function that was pulled out, or is being reset, is nobody's fault.
        let gone = error == DmaError::Removed || self.shared.state.lock().registers.reset_asked();
        if !gone {
            let detail = format!("{doing} at bus {bus:#x}: {error}");
            self.shared.report(FindingKind::ProtocolViolation, detail);
        }
        self.shared.fatal();
    }

    /// A rogue disk keeps in mind which addresses are its own.
    pub(super) fn told(&mut self, bus: u64, len_bytes: u64) {
        if let Some(rogue) = &mut self.disk.rogue {
            rogue.told(bus, len_bytes);
        }
    }
}

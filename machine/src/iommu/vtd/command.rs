//! Global command and global status: one command at a time, each to be waited for (11.4.4).
//!
//! A command is done at some moment after it was written; status shows it at the second read at the earliest, so
//! that a driver which does not wait is told from one that does, on every run.

use std::collections::VecDeque;

use hw::vtd::regs::{GlobalCommand, GlobalStatus};

use crate::iommu::reporter::Reporter;

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

impl Switch {
    fn from_bit(bit: bool) -> Self {
        if bit { Self::On } else { Self::Off }
    }
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    SetRootTable,
    Translation(Switch),
    Queue(Switch),
    FlushWriteBuffer,
}

/// `GCMD_REG` and `GSTS_REG`.
#[derive(Debug, Default)]
pub(super) struct Commands {
    status: GlobalStatus,
    /// The switches as they will be when every pending command is done.
    requested: GlobalCommand,
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    command: Command,
    progress: Progress,
    /// Software has read status since.
    was_polled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Started,
    Done,
}

/// Functions that this unit's capabilities exclude.
const ABSENT: GlobalCommand = GlobalCommand::new()
    .with_cfi(true)
    .with_sirtp(true)
    .with_ire(true)
    .with_eafl(true)
    .with_sfl(true);
/// Bits 22:0.
const RESERVED: u64 = 0x007f_ffff;

impl Commands {
    /// Software wrote `GCMD_REG`.
    pub(super) fn write(&mut self, value: GlobalCommand, reporter: &Reporter) {
        let bits = value.into_bits();
        reporter.check_reserved("GCMD", bits.into(), RESERVED);
        if bits & ABSENT.into_bits() != 0 {
            reporter.illegal(format!(
                "GCMD {bits:#010x}: the unit does not have this function"
            ));
        }
        let mut commands = Vec::new();
        if value.te() != self.requested.te() {
            commands.push(Command::Translation(Switch::from_bit(value.te())));
        }
        if value.qie() != self.requested.qie() {
            commands.push(Command::Queue(Switch::from_bit(value.qie())));
        }
        if value.srtp() {
            commands.push(Command::SetRootTable);
        }
        if value.wbf() {
            commands.push(Command::FlushWriteBuffer);
        }
        if let Some(pending) = self.pending.front() {
            reporter.illegal(format!(
                "GCMD {bits:#010x} written before GSTS showed the end of {:?}",
                pending.command
            ));
        }
        let [command] = commands[..] else {
            if !commands.is_empty() {
                reporter.illegal(format!(
                    "GCMD {bits:#010x} is more than one command: {commands:?}"
                ));
            }
            return;
        };
        match command {
            Command::SetRootTable => self.status.set_rtps(false),
            Command::FlushWriteBuffer => self.status.set_wbfs(true),
            Command::Translation(_) => self.requested.set_te(value.te()),
            Command::Queue(_) => self.requested.set_qie(value.qie()),
        }
        self.pending.push_back(Pending {
            command,
            progress: Progress::Waiting,
            was_polled: false,
        });
    }

    /// The next command to carry out, which counts as started from now on.
    pub(super) fn start_next(&mut self) -> Option<Command> {
        let next = self
            .pending
            .iter_mut()
            .find(|pending| pending.progress != Progress::Done)?;
        if next.progress == Progress::Started {
            return None;
        }
        next.progress = Progress::Started;
        Some(next.command)
    }

    /// The command that was started is done.
    pub(super) fn finish(&mut self) {
        if let Some(started) = self
            .pending
            .iter_mut()
            .find(|pending| pending.progress == Progress::Started)
        {
            started.progress = Progress::Done;
        }
    }

    /// Software reads `GSTS_REG`.
    pub(super) fn poll_status(&mut self) -> GlobalStatus {
        while let Some(Pending { command, .. }) = self
            .pending
            .pop_front_if(|pending| pending.progress == Progress::Done && pending.was_polled)
        {
            match command {
                Command::SetRootTable => self.status.set_rtps(true),
                Command::FlushWriteBuffer => self.status.set_wbfs(false),
                Command::Translation(switch) => self.status.set_tes(switch == Switch::On),
                Command::Queue(switch) => self.status.set_qies(switch == Switch::On),
            }
        }
        for pending in &mut self.pending {
            pending.was_polled = true;
        }
        self.status
    }
}

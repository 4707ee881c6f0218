//! Commands that were fetched and wait for execution: the controller may choose any of them next.

use hw::nvme::SubmissionEntry;
use hw::nvme::command::Dword0;

use super::config::CompletionOrder;
use crate::temper::Dice;

/// Commands a controller that does not keep the order fetches before it chooses one.
const DEPTH: usize = 8;

/// A command that was fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// The submission queue it came from.
    pub(crate) queue: u16,
    /// How many I/O commands were fetched before it.
    pub(crate) number: u64,
    /// What it is.
    pub(crate) entry: SubmissionEntry,
}

impl Command {
    /// Its first dword as fields.
    pub(crate) fn dword0(&self) -> Dword0 {
        Dword0::from_bits(self.entry.cdw0)
    }
}

/// Whether there are commands to execute, and whether more may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backlog {
    /// Nothing to execute.
    Empty,
    /// Commands to execute, and room for more.
    Some,
    /// Commands to execute; no more may be fetched.
    Full,
}

/// The commands to choose from.
pub(crate) struct Window {
    commands: Vec<Command>,
    depth: usize,
    dice: Dice,
}

impl Window {
    pub(crate) fn new(order: CompletionOrder) -> Self {
        let (depth, seed) = match order {
            CompletionOrder::Submission => (1, 0),
            CompletionOrder::Shuffled(seed) => (DEPTH, seed),
        };
        Self {
            commands: Vec::with_capacity(depth),
            depth,
            dice: Dice::new(seed),
        }
    }

    pub(crate) fn backlog(&self) -> Backlog {
        match self.commands.len() {
            0 => Backlog::Empty,
            len if len < self.depth => Backlog::Some,
            _ => Backlog::Full,
        }
    }

    /// Adds a command; the window was not full.
    pub(crate) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Chooses a command.
    pub(crate) fn take(&mut self) -> Option<Command> {
        let len = self.commands.len();
        (len != 0).then(|| self.commands.remove(self.dice.below(len as u64) as usize))
    }

    /// Forgets the commands of submission queue `queue`; returns how many.
    pub(crate) fn forget(&mut self, queue: u16) -> usize {
        let before = self.commands.len();
        self.commands.retain(|command| command.queue != queue);
        before - self.commands.len()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.commands.clear();
    }
}

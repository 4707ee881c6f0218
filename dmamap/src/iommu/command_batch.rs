//! Commands that are put together before they are submitted.

use super::command_ring::{Command, MAX_BATCH};

/// What names something: nearly always one command, which is handed on without being copied into a batch.
pub(crate) enum Commands {
    /// Just this.
    One(Command),
    /// Others too.
    Several(Batch),
}

/// A few commands, without allocating.
pub(crate) struct Batch {
    commands: [Command; MAX_BATCH],
    len: usize,
}

impl Batch {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            commands: [[0; 2]; MAX_BATCH],
            len: 0,
        }
    }

    /// Just `command`.
    pub(crate) fn one(command: Command) -> Self {
        let mut batch = Self::new();
        batch.push(command);
        batch
    }

    /// Adds one; false when there is no room left.
    pub(crate) fn push(&mut self, command: Command) -> bool {
        let Some(slot) = self.commands.get_mut(self.len) else {
            return false;
        };
        *slot = command;
        self.len += 1;
        true
    }

    /// The commands.
    pub(crate) fn as_slice(&self) -> &[Command] {
        &self.commands[..self.len]
    }
}

impl FromIterator<Command> for Batch {
    /// The first [`MAX_BATCH`] of `commands`; there are no more.
    fn from_iter<I: IntoIterator<Item = Command>>(commands: I) -> Self {
        let mut batch = Self::new();
        for command in commands {
            let had_room = batch.push(command);
            debug_assert!(had_room, "a batch of more than {MAX_BATCH}");
        }
        batch
    }
}

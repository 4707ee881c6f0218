//! The command queue: where it lies, how far it came, and what stops it (3.1, 5.6 to 5.8, 5.15).

use std::ops::Range;

use hw::riscv::command::COMMAND_BYTES;
use hw::riscv::regs::{CommandQueueControl, QueueBase};

use super::busy::Busy;
use crate::iommu::queue_hooks::QueueHooks;

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(super) fn from_bit(bit: bool) -> Self {
        if bit { Self::On } else { Self::Off }
    }
}

/// Why the queue stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    MemoryFault,
    Illegal,
}

/// Registers and state of the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) base: QueueBase,
    /// Indices.
    pub(super) head: u32,
    pub(super) tail: u32,
    /// `cqcsr`, but for `cqon` and `busy`.
    pub(super) control: CommandQueueControl,
    pub(super) switch: Busy<Switch>,
    /// It is active, whatever the register shows yet.
    pub(super) on: bool,
    /// What `cqon` shows.
    shown_on: bool,
    pub(super) hooks: QueueHooks,
}

/// What to do with the queue now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCommand {
    /// Nothing to do until software writes a register or a hook is called.
    Idle,
    /// Something to do, but later.
    Later,
    /// The command at this physical address.
    Fetch(u64),
}

impl Queue {
    /// What comes next.
    pub(super) fn next(&self) -> NextCommand {
        if !self.on || self.is_stopped() || self.hooks.held || self.head == self.tail {
            return NextCommand::Idle;
        }
        if self.hooks.is_early() {
            return NextCommand::Later;
        }
        NextCommand::Fetch(self.base.base() + u64::from(self.head) * COMMAND_BYTES)
    }

    /// Whether it stands still at an error.
    pub(super) fn is_stopped(&self) -> bool {
        self.control.cqmf() || self.control.cmd_to() || self.control.cmd_ill()
    }

    /// Whether an interrupt condition is there (5.18).
    pub(super) fn condition(&self) -> bool {
        self.control.cie() && (self.is_stopped() || self.control.fence_w_ip())
    }

    /// Physical addresses of the commands that are not done.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, head, mask) = (self.base.base(), self.head, self.index_mask());
        let count = self.tail.wrapping_sub(head) & mask;
        (0..count).map(move |n| base + u64::from(head.wrapping_add(n) & mask) * COMMAND_BYTES)
    }

    /// The command at the head is done.
    pub(super) fn advance(&mut self) {
        self.head = (self.head + 1) & self.index_mask();
    }

    pub(super) fn stop(&mut self, why: Stop) {
        match why {
            Stop::MemoryFault => self.control.set_cqmf(true),
            Stop::Illegal => self.control.set_cmd_ill(true),
        }
    }

    /// Only as many bits as the queue has entries can be written (5.8).
    pub(super) fn index_mask(&self) -> u32 {
        (self.base.entries() - 1) as u32
    }

    pub(super) fn write_tail(&mut self, value: u32) {
        self.tail = value & self.index_mask();
        self.hooks.tail_written();
    }

    /// Carries out what `cqen` asked for.
    pub(super) fn turn(&mut self, switch: Switch) {
        self.on = switch == Switch::On;
        if self.on {
            self.head = 0;
            let errors = CommandQueueControl::new();
            self.clear(errors.with_cqmf(true).with_cmd_to(true).with_cmd_ill(true));
            self.control.set_fence_w_ip(false);
        }
    }

    /// Software wrote ones to error bits.
    pub(super) fn clear(&mut self, value: CommandQueueControl) {
        let control = &mut self.control;
        control.set_cqmf(control.cqmf() && !value.cqmf());
        control.set_cmd_to(control.cmd_to() && !value.cmd_to());
        control.set_cmd_ill(control.cmd_ill() && !value.cmd_ill());
        control.set_fence_w_ip(control.fence_w_ip() && !value.fence_w_ip());
    }

    /// Software reads `cqcsr`.
    pub(super) fn poll(&mut self) -> CommandQueueControl {
        if let Some(switch) = self.switch.poll() {
            self.shown_on = switch == Switch::On;
        }
        self.control
            .with_cqon(self.shown_on)
            .with_busy(self.switch.is_busy())
    }

    /// Physical range of the queue, while it is used.
    pub(super) fn frames(&self) -> Option<Range<u64>> {
        let start = self.base.base();
        self.on
            .then(|| start..start + self.base.entries() * COMMAND_BYTES)
    }
}

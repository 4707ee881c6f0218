//! The command queue (3.5, 4): where it lies, how far it came, what stopped it.

use hw::smmu::command::COMMAND_BYTES;
use hw::smmu::regs::{CommandConsumer, CommandError, QueueBase, QueueIndex};

use crate::iommu::queue_hooks::QueueHooks;

/// Registers and state of the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) base: QueueBase,
    pub(super) producer: QueueIndex,
    pub(super) consumer: CommandConsumer,
    pub(super) enabled: bool,
    /// What tests do to it.
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
    fn log2(&self) -> u32 {
        self.base.log2size().into()
    }

    fn mask(&self) -> u32 {
        (2 << self.log2()) - 1
    }

    /// Commands between the consumer and the producer index: more than the queue holds where software is wrong.
    pub(super) fn pending(&self) -> u32 {
        self.producer.index().wrapping_sub(self.consumer.index()) & self.mask()
    }

    /// Whether more commands are said to be there than the queue holds.
    pub(super) fn is_overrun(&self) -> bool {
        self.pending() > 1 << self.log2()
    }

    /// What comes next, as long as no error is active.
    pub(super) fn next(&self) -> NextCommand {
        if !self.enabled || self.hooks.held || self.pending() == 0 {
            return NextCommand::Idle;
        }
        if self.hooks.is_early() {
            return NextCommand::Later;
        }
        let entry = self.consumer.index() & ((1 << self.log2()) - 1);
        NextCommand::Fetch(self.base.addr() + u64::from(entry) * COMMAND_BYTES)
    }

    /// Physical addresses of the commands that are not done.
    pub(super) fn commands(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, first) = (self.base.addr(), self.consumer.index());
        let mask = (1 << self.log2()) - 1;
        let count = self.pending();
        (0..count).map(move |n| base + u64::from(first.wrapping_add(n) & mask) * COMMAND_BYTES)
    }

    /// The command at the consumer index is done.
    pub(super) fn advance(&mut self) {
        let next = self.consumer.index().wrapping_add(1) & self.mask();
        self.consumer = CommandConsumer::new().with_index(next);
    }

    /// The command at the consumer index stopped the queue.
    pub(super) fn stop(&mut self, error: CommandError) {
        self.consumer.set_err(error);
    }

    /// Physical range of the queue, while it is used.
    pub(super) fn frames(&self) -> Option<std::ops::Range<u64>> {
        let start = self.base.addr();
        self.enabled
            .then(|| start..start + (COMMAND_BYTES << self.log2()))
    }
}

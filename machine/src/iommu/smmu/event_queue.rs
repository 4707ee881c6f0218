//! The event queue (3.5.1, 7.2): records for software, in memory, and what happens when there is no room.

use hw::smmu::event::{EventRecord, RECORD_BYTES};
use hw::smmu::regs::{QueueBase, QueueIndex};

use super::message::Interrupt;
use crate::cache::MemoryView;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is in the queue.
    Yes,
    /// The queue is off.
    Off,
    /// The queue is full; the overflow flag says so.
    Overflow,
    /// The queue is not in memory.
    Abort,
}

/// Registers and state of the queue.
#[derive(Debug)]
pub(super) struct EventQueue {
    pub(super) base: QueueBase,
    pub(super) producer: QueueIndex,
    pub(super) consumer: QueueIndex,
    pub(super) enabled: bool,
    pub(super) interrupt: Interrupt,
}

impl EventQueue {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self {
            base: QueueBase::new(),
            producer: QueueIndex::new(),
            consumer: QueueIndex::new(),
            enabled: false,
            interrupt,
        }
    }

    fn log2(&self) -> u32 {
        self.base.log2size().into()
    }

    /// Index and wrap bit of both, the rest cut off.
    fn places(&self) -> (u32, u32) {
        let mask = (2 << self.log2()) - 1;
        (self.producer.index() & mask, self.consumer.index() & mask)
    }

    /// Adds a record.
    pub(super) fn record(&mut self, memory: &MemoryView, record: EventRecord) -> Recorded {
        if !self.enabled {
            return Recorded::Off;
        }
        // 1. While the overflow flag is not acknowledged, and while there is no room, records are lost (7.4).
        let (producer, consumer) = self.places();
        if producer ^ consumer == 1 << self.log2() {
            if self.producer.overflow() == self.consumer.overflow() {
                self.producer.set_overflow(!self.producer.overflow());
            }
            return Recorded::Overflow;
        }
        // 2. The record is in memory before the index says so.
        let phys = self.base.addr() + u64::from(self.producer.entry(self.log2())) * RECORD_BYTES;
        for (word, at) in record.to_words().into_iter().zip((phys..).step_by(8)) {
            if memory.store_u64(at, word).is_err() {
                return Recorded::Abort;
            }
        }
        let mask = (2 << self.log2()) - 1;
        self.producer.set_index((producer + 1) & mask);
        // 3. Only a queue that was empty raises the interrupt (3.18).
        if producer == consumer {
            self.interrupt.raise();
        }
        Recorded::Yes
    }

    /// Physical range of the queue, while it is used.
    pub(super) fn frames(&self) -> Option<std::ops::Range<u64>> {
        let start = self.base.addr();
        self.enabled
            .then(|| start..start + (RECORD_BYTES << self.log2()))
    }
}

//! The event queue: buffers that the driver posted, and the reports of blocked requests written there (5.13.6.9).

use std::collections::VecDeque;

use hw::virtio::iommu::fault::{FAULT_BYTES, Fault};

use super::queue::{Broken, Buffer, VirtQueue};
use crate::findings::FindingKind;
use crate::iommu::freed::Freed;
use crate::iommu::reporter::Reporter;

/// The queue and the buffers taken from it.
#[derive(Debug)]
pub(super) struct EventQueue {
    queue: VirtQueue,
    posted: VecDeque<Buffer>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// It lies in the driver's memory, and whether the driver wants an interrupt.
    Written { interrupt: bool },
    /// No buffer was there.
    Lost,
}

impl EventQueue {
    pub(super) fn new(queue: VirtQueue) -> Self {
        Self {
            queue,
            posted: VecDeque::new(),
        }
    }

    /// Takes what the driver posted since.
    pub(super) fn refill(&mut self, reporter: &Reporter) -> Result<(), Broken> {
        loop {
            while let Some(buffer) = self.queue.take(reporter)? {
                if buffer.writable() < FAULT_BYTES || buffer.readable() != 0 {
                    reporter.report(
                        FindingKind::ProtocolViolation,
                        format!("event queue: a buffer no report fits in: {buffer:?}"),
                    );
                    return Err(Broken);
                }
                self.posted.push_back(buffer);
            }
            if !self.queue.listen() {
                return Ok(());
            }
        }
    }

    /// Writes a report into the next buffer.
    pub(super) fn report(&mut self, fault: Fault, reporter: &Reporter) -> Result<Reported, Broken> {
        self.refill(reporter)?;
        let Some(buffer) = self.posted.pop_front() else {
            return Ok(Reported::Lost);
        };
        let bytes: Vec<u8> = fault
            .to_words()
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        if buffer.write(&bytes).is_none() {
            reporter.report(
                FindingKind::ProtocolViolation,
                format!("event queue: a buffer outside memory: {buffer:?}"),
            );
            return Err(Broken);
        }
        let interrupt = self.queue.give_back(&buffer, FAULT_BYTES as u32, reporter);
        Ok(Reported::Written { interrupt })
    }

    pub(super) fn tell_uses(&self, freed: &mut Freed) {
        self.queue.tell_uses(freed);
        for buffer in &self.posted {
            buffer.tell_uses("event queue", freed);
        }
    }
}

//! What one CPU has retired and the queue does not know yet: so that most of it needs no lock.
//!
//! A CPU draws a ticket for all that it will stage, and the queue keeps room for it. Whoever makes a flush first takes in what
//! all CPUs have staged, and so that ticket is settled with the flush that covers them. Until then it counts as something that
//! waits, as it may be: the bounds of the queue, in number and in time, hold with what is staged.

use super::tickets::Ticket;
use super::{FlushQueue, Waiting};
use crate::addr::BusRange;
use crate::platform::Platform;

/// Most ranges that one CPU stages.
const MOST: usize = 32;

/// The ranges that one CPU has retired since it drew a ticket.
#[derive(Default)]
pub(in crate::iommu) struct Stage {
    /// The ticket of all of them; `None` where it has none to give.
    ticket: Option<Ticket>,
    /// For how many of them the queue keeps room.
    room: usize,
    len: usize,
    /// Where each begins, and its bytes.
    ranges: [(u64, u64); MOST],
}

impl Stage {
    /// The ticket of what is staged next, if there is room for it.
    #[inline]
    pub(in crate::iommu) fn ticket(&self) -> Option<Ticket> {
        self.ticket.filter(|_| self.len < self.room)
    }

    /// Takes a range whose entries were cleared, where there is [a ticket](Self::ticket).
    #[inline]
    pub(in crate::iommu) fn push(&mut self, range: BusRange) {
        self.ranges[self.len] = (range.start().as_u64(), range.len_bytes());
        self.len += 1;
    }
}

impl<P: Platform> FlushQueue<P> {
    /// Takes in what a CPU has staged, and gives it another ticket. Whether it has one then: there must be room.
    pub(in crate::iommu) fn exchange(&mut self, stage: &mut Stage, cpus: usize) -> bool {
        self.take_in(stage);
        // All CPUs together are not to take more than half.
        let share = (self.limits.entries / (2 * cpus.max(1))).min(MOST);
        let room = share.min(self.room_left());
        if room == 0 {
            return false;
        }
        self.note_first();
        self.staged += room;
        self.staged_by_cpus += room;
        stage.ticket = Some(self.tickets.draw());
        stage.room = room;
        true
    }

    /// Takes in what a CPU has staged. It has no ticket any more.
    pub(in crate::iommu) fn take_in(&mut self, stage: &mut Stage) {
        let room = core::mem::take(&mut stage.room);
        self.staged -= room;
        self.staged_by_cpus -= room;
        stage.ticket = None;
        if let Some(Waiting {
            entries,
            gather,
            bytes,
            ..
        }) = &mut self.waiting
        {
            let ranges = &stage.ranges[..stage.len];
            for &(start, len_bytes) in ranges {
                gather.add_leaves(start, len_bytes);
                *bytes += len_bytes;
            }
            entries.extend(ranges);
        }
        self.figures.retired += stage.len as u64;
        stage.len = 0;
    }

    /// Whether some CPU may have staged something: none has without a ticket, and what is kept for owners stops no CPU.
    pub(in crate::iommu) fn has_staged(&self) -> bool {
        self.staged_by_cpus > 0
    }
}

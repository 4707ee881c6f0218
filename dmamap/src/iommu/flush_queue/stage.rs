//! What one CPU has retired and the queue does not know yet: so that most of it needs no lock.
//!
//! A CPU draws a ticket for all that it will stage, and the queue keeps room for it. Whoever makes a flush first takes in what
//! all CPUs have staged, and so that ticket is settled with the flush that covers them. Until then it counts as something that
//! waits, as it may be: the bounds of the queue, in number and in time, hold with what is staged.

use super::FlushQueue;
use super::packed::{self, MOST_WORDS};
use super::tickets::Ticket;
use crate::addr::BusRange;
use crate::platform::Platform;

/// Most ranges that one CPU stages.
pub(super) const MOST: usize = 64;

/// The ranges that one CPU has retired since it drew a ticket.
pub(in crate::iommu) struct Stage {
    /// The ticket of all of them; `None` where it has none to give.
    ticket: Option<Ticket>,
    /// For how many ranges the queue keeps room.
    room: usize,
    /// How many words those that are staged take, as they are [packed]: no more than there is room for, so that they are no more
    /// ranges either.
    len: usize,
    words: [u64; MOST],
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            ticket: None,
            room: 0,
            len: 0,
            words: [0; MOST],
        }
    }
}

impl Stage {
    /// The ticket of a range that is staged next, if there is room for it.
    #[inline]
    pub(in crate::iommu) fn ticket(&self, range: BusRange) -> Option<Ticket> {
        let words = match packed::in_a_word(range) {
            Some(_) => 1,
            None => MOST_WORDS,
        };
        self.ticket.filter(|_| self.len + words <= self.room)
    }

    /// Takes a range whose entries were cleared, where there is [a ticket](Self::ticket) for it.
    #[inline]
    pub(in crate::iommu) fn push(&mut self, range: BusRange) {
        match packed::in_a_word(range) {
            Some(word) => self.put(word),
            None => packed::in_two_words(range)
                .into_iter()
                .for_each(|word| self.put(word)),
        }
    }

    #[inline]
    fn put(&mut self, word: u64) {
        self.words[self.len] = word;
        self.len += 1;
    }
}

impl<P: Platform> FlushQueue<P> {
    /// Takes in what a CPU has staged, and gives it another ticket. Whether it has one then: there must be room.
    pub(in crate::iommu) fn exchange(&mut self, stage: &mut Stage, cpus: usize) -> bool {
        self.take_in(stage);
        // A quarter of what is left, as mostly few of many CPUs retire; and a share that all of them could have of a half. Together they
        // have three quarters at most: the rest is for what is retired elsewhere.
        let entries = self.limits.entries;
        let left = (entries - entries / 4).saturating_sub(self.staged_by_cpus);
        let left = left.min(self.room_left());
        let share = entries / (2 * cpus.max(1));
        let room = share.max(left / 4).min(MOST).min(left);
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
        let words = &stage.words[..stage.len];
        let (mut count, mut bytes, mut first, mut last) = (0, 0, u64::MAX, 0);
        for range in packed::ranges(words.iter().copied()) {
            let (start, len_bytes) = (range.start().as_u64(), range.len_bytes());
            (count, bytes) = (count + 1, bytes + len_bytes);
            (first, last) = (first.min(start), last.max(start + (len_bytes - 1)));
        }
        if count > 0
            && let Some(waiting) = &mut self.waiting
        {
            waiting.gather.add_leaves(first, last - first + 1);
            waiting.entries.extend(count, words);
            waiting.bytes += bytes;
        }
        self.figures.retired += count as u64;
        stage.len = 0;
    }

    /// Whether some CPU may have staged something: none has without a ticket, and what is kept for owners stops no CPU.
    pub(in crate::iommu) fn has_staged(&self) -> bool {
        self.staged_by_cpus > 0
    }
}

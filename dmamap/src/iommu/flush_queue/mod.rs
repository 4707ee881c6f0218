//! The flush queue of a domain: what is unmapped and not invalidated yet, bounded in number and in time.
//!
//! Clearing a mapping's entries is cheap; making the units forget them is not. So mappings may be *retired*: their
//! entries are cleared, their bus addresses and the tables that became empty wait here, and one flush makes the units
//! forget all of them. Until then the device may still reach the memory, so whoever may have it back early is
//! decided above, in [`map`](crate::map).
//!
//! A queue is filled by everybody and flushed by whoever first needs a flush: at most one flush is under way, which
//! covers all that was in the queue when it began. Who needs another waits for it, and then one of them makes the next
//! for all. The queue itself waits for nobody and knows no unit: it is the domain's, and under its lock
//! ([`retire`](super::retire) has the waiting).
//!
//! | part | what it is |
//! |---|---|
//! | `tickets` | which mappings a flush has covered, and whether it was confirmed |
//! | `entries` | the ranges, in frames lent when the queue was made |
//! | `packed` | how a range is noted, mostly in one word |
//! | `stage` | what one CPU has retired that the queue does not know yet |
//! | `own_stage` | what the owner of a lane has |
//! | `covered` | whether a flush has begun that is about it |
//! | [`FlushFigures`] | how far memory was exposed, and how long |

mod covered;
mod entries;
mod figures;
#[cfg(test)]
mod interleaved;
mod own_stage;
mod packed;
mod stage;
mod tickets;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::BusRange;
use crate::iommu::RevokeError;
use crate::pagetable::{Gather, TableChange};
use crate::platform::{OutOfFrames, Platform};
use crate::sync;
use entries::Entries;
use tickets::Tickets;

pub(super) use covered::order_flush;
pub use figures::FlushFigures;
use own_stage::Desk;
pub(super) use own_stage::OwnStage;
pub(super) use stage::Stage;
pub(super) use tickets::Ticket;
pub(crate) use tickets::{Confirmed, Owed};

/// How much may wait for a flush, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushLimits {
    /// Mappings.
    entries: usize,
    /// Nanoseconds.
    window_ns: u64,
}

/// Most mappings that may wait for one flush: 64 frames of them.
const MAX_ENTRIES: u32 = 1 << 14;

/// Of whoever does not say how many: for each CPU, and at most, as frames are lent for so many. A flush has all CPUs fence, which takes as
/// long as some dozen mappings: it is to be for many more.
const USUAL_ENTRIES_OF_CPU: u32 = 512;
const MOST_USUAL_ENTRIES: u32 = 1 << 12;

impl FlushLimits {
    /// How many mappings may wait where nobody says it.
    pub(crate) fn entries_for(cpus: usize) -> u32 {
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let entries = cpus.saturating_mul(USUAL_ENTRIES_OF_CPU);
        entries.clamp(USUAL_ENTRIES_OF_CPU, MOST_USUAL_ENTRIES)
    }

    /// Between 1 and [`MAX_ENTRIES`] mappings wait `window_ms` milliseconds at most.
    pub(crate) fn new(entries: u32, window_ms: u64) -> Self {
        Self {
            entries: entries.clamp(1, MAX_ENTRIES) as usize,
            window_ns: window_ms.saturating_mul(1_000_000),
        }
    }
}

/// Whether the queue's frames are kept while nothing waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// They are: unmapping is to need no memory.
    Kept,
    /// They are lent when something waits.
    Lent,
}

/// What waits for the next flush.
struct Waiting<P: Platform> {
    entries: Entries<P>,
    gather: Gather<P>,
    /// How many mappings it is about whose addresses owners of lanes free, as far as was known.
    owned: u64,
    /// Whether it is about such mappings: also where none was known of, there may be some.
    is_for_owners: bool,
    /// Whether some of these owners [were not asked](FlushQueue::cover_all): before units forget, CPUs are to fence.
    cpus_fence: bool,
    bytes: u64,
    /// When its first entry came.
    oldest_ns: u64,
}

/// What a flush is about, taken out of the queue. It goes back by [`FlushQueue::land`].
pub(super) struct Flight<P: Platform> {
    entries: Entries<P>,
    /// What is to be invalidated, and the tables that are free then.
    pub(super) gather: Gather<P>,
    owned: u64,
    bytes: u64,
    oldest_ns: u64,
    through: Owed,
    /// Before units forget, CPUs are to [fence](order_flush).
    pub(super) cpus_fence: bool,
}

impl<P: Platform> Flight<P> {
    /// The bus addresses that are free again once it was confirmed.
    pub(super) fn ranges(&self) -> impl Iterator<Item = BusRange> + '_ {
        self.entries.iter()
    }
}

/// When a flush is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Something has waited long enough.
    Now,
    /// If at all.
    Later,
}

/// Numbers of the flight under way.
#[derive(Clone, Copy)]
struct UnderWay {
    through: Owed,
    entries: u64,
    bytes: u64,
}

/// What is unmapped and not invalidated yet.
pub(super) struct FlushQueue<P: Platform> {
    platform: P,
    limits: FlushLimits,
    room: Room,
    /// `None` where no room is lent.
    waiting: Option<Waiting<P>>,
    /// Room for what is retired while a flush is under way.
    spare: Option<Entries<P>>,
    under_way: Option<UnderWay>,
    /// How many entries are kept for what CPUs and owners have staged, or will.
    staged: usize,
    /// Those of them that are kept for CPUs.
    staged_by_cpus: usize,
    /// Of owners of lanes.
    desks: Vec<Arc<Desk>>,
    tickets: Tickets,
    figures: FlushFigures,
    /// Whether a timer will look after the queue.
    timer_set: bool,
}

impl<P: Platform> FlushQueue<P> {
    /// An empty queue, no room lent.
    pub(super) fn new(platform: P, limits: FlushLimits) -> Self {
        Self {
            platform,
            limits,
            room: Room::Lent,
            waiting: None,
            spare: None,
            under_way: None,
            staged: 0,
            staged_by_cpus: 0,
            desks: Vec::new(),
            tickets: Tickets::new(),
            figures: FlushFigures::default(),
            timer_set: false,
        }
    }

    /// Lends room, if it is not lent yet, and keeps it as `room` says at least.
    pub(super) fn lend_room(&mut self, room: Room) -> Result<(), OutOfFrames> {
        if self.waiting.is_none() {
            // Both or neither: a flush takes what waits only where there is room for what comes meanwhile.
            let (entries, spare) = (self.allocate()?, self.allocate()?);
            self.waiting = Some(self.waiting_in(entries));
            self.spare = Some(spare);
        }
        if room == Room::Kept {
            self.room = room;
        }
        Ok(())
    }

    fn allocate(&self) -> Result<Entries<P>, OutOfFrames> {
        Entries::allocate(self.platform, self.limits.entries)
    }

    fn waiting_in(&self, entries: Entries<P>) -> Waiting<P> {
        Waiting {
            entries,
            gather: Gather::new(self.platform),
            owned: 0,
            is_for_owners: false,
            cpus_fence: false,
            bytes: 0,
            oldest_ns: 0,
        }
    }

    /// Gives room back that is not needed.
    pub(super) fn reclaim(&mut self) {
        if self.room == Room::Lent && self.under_way.is_none() && self.is_empty() {
            self.waiting = None;
            self.spare = None;
        }
    }

    /// Frames the queue holds, for its entries and in tables that wait.
    pub(super) fn frames(&self) -> usize {
        let waiting = self.waiting.as_ref();
        let waiting = waiting.map_or(0, |waiting| waiting.entries.frames());
        waiting + self.spare.as_ref().map_or(0, Entries::frames)
    }

    /// Whether nothing waits but what a flush that is under way covers.
    pub(super) fn is_empty(&self) -> bool {
        self.staged == 0
            && self
                .waiting
                .as_ref()
                .is_none_or(|waiting| waiting.entries.len() == 0 && !waiting.is_for_owners)
    }

    /// Whether nothing can be retired before a flush.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.is_some() && self.room_left() == 0
    }

    /// How many more may wait for the next flush.
    fn room_left(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| {
            let waits = waiting.entries.len() + waiting.owned as usize + self.staged;
            self.limits.entries.saturating_sub(waits)
        })
    }

    /// Whether a table that waits may still be walked by a unit, other than in a flush that is under way.
    pub(super) fn holds_tables(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.gather.tables() == TableChange::Unlinked)
    }

    /// Takes what an unmap left to be done, whose range is pushed next.
    pub(super) fn gather(&mut self, gather: Gather<P>) {
        match &mut self.waiting {
            Some(waiting) => waiting.gather.absorb(gather),
            None => debug_assert!(gather.range().is_none(), "room is lent before an unmap"),
        }
    }

    /// Takes `range`, what is left to be done for which was [taken](Self::gather).
    pub(super) fn push(&mut self, range: BusRange) -> Owed {
        self.note_first();
        let ticket = self.tickets.draw();
        if let Some(waiting) = &mut self.waiting {
            waiting.entries.push(range);
            waiting.bytes += range.len_bytes();
        }
        self.figures.retired += 1;
        Owed::one(ticket, range)
    }

    /// If nothing waits yet, what comes next is the first that does.
    fn note_first(&mut self) {
        if self.is_empty()
            && let Some(waiting) = &mut self.waiting
        {
            waiting.oldest_ns = self.platform.now_ns();
        }
    }

    /// Whether [`take`](Self::take) has something to give: first what is staged is to be [taken in](Self::take_in).
    pub(super) fn may_take(&self) -> bool {
        self.under_way.is_none() && !self.is_empty()
    }

    /// What the next flush is about; `None` if nothing waits, or one is under way.
    pub(super) fn take(&mut self) -> Option<Flight<P>> {
        if self.under_way.is_some() {
            return None;
        }
        if self.is_empty() {
            // Of tickets for which nothing was staged.
            let nothing = self.tickets.unsettled();
            self.tickets.settle(nothing, Ok(()));
            return None;
        }
        let room = self.spare.take()?;
        let empty = self.waiting_in(room);
        let waiting = self.waiting.replace(empty)?;
        let through = self.tickets.unsettled();
        self.under_way = Some(UnderWay {
            through,
            entries: waiting.entries.len() as u64 + waiting.owned,
            bytes: waiting.bytes,
        });
        Some(Flight {
            entries: waiting.entries,
            gather: waiting.gather,
            owned: waiting.owned,
            bytes: waiting.bytes,
            oldest_ns: waiting.oldest_ns,
            through,
            cpus_fence: waiting.cpus_fence,
        })
    }

    /// Whether a flush is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The flush of `flight` ended: whoever waits for it is told. What it is about is free only when it has [landed](Self::land).
    pub(super) fn settle(&mut self, flight: &Flight<P>, outcome: Result<(), RevokeError>) {
        let count = flight.entries.len() as u64 + flight.owned;
        self.tickets.settle(flight.through, outcome);
        if let Some(under_way) = &mut self.under_way {
            (under_way.entries, under_way.bytes) = (0, 0);
        }
        match outcome {
            Ok(()) => {
                let window_ns = self.platform.now_ns().saturating_sub(flight.oldest_ns);
                self.figures.note_flush(count, window_ns);
            }
            Err(_) => self.count_lost(count, flight.bytes),
        }
    }

    /// What `flight`, which is [settled](Self::settle), was about is free, or kept. Returns its gather, which is not the queue's to free.
    pub(super) fn land(&mut self, flight: Flight<P>) -> Gather<P> {
        let Flight {
            mut entries,
            gather,
            ..
        } = flight;
        self.under_way = None;
        // Where the domain ended meanwhile there is no queue to go on with.
        if self.waiting.is_some() {
            entries.clear();
            self.spare = Some(entries);
        }
        gather
    }

    /// Ends the queue, `outcome` saying of all that waits whether the device has lost it. Returns the tables.
    pub(super) fn close(&mut self, outcome: Result<(), RevokeError>) -> Option<Gather<P>> {
        self.spare = None;
        let waiting = self.waiting.take()?;
        if outcome.is_err() {
            let count = waiting.entries.len() as u64 + waiting.owned;
            self.count_lost(count, waiting.bytes);
        }
        let all = self.tickets.unsettled();
        self.tickets.settle(all, outcome);
        Some(waiting.gather)
    }

    fn count_lost(&mut self, count: u64, bytes: u64) {
        self.figures.lost += count;
        self.figures.lost_bytes += bytes;
    }

    /// Tells `confirmed` which tickets are settled.
    pub(super) fn publish(&self, confirmed: &Confirmed) {
        self.tickets.publish(confirmed);
    }

    /// Whether `owed` is covered by flushes, and how these ended; `None` while one is to come.
    pub(super) fn outcome(&self, owed: Owed) -> Option<Result<(), RevokeError>> {
        let shared = self.tickets.outcome(owed);
        shared.or_else(|| self.is_settled_by_owner(owed).then_some(Ok(())))
    }

    /// How the flushes ended that were about [all](Self::everything); `None` while one is to come.
    pub(super) fn outcome_of_all(&self, all: Owed) -> Option<Result<(), RevokeError>> {
        self.tickets.outcome_of_shared(all)
    }

    /// Whether flushes have [landed](Self::land) that were about [all](Self::everything).
    pub(super) fn has_landed(&self, all: Owed) -> bool {
        let is_among = |flight: UnderWay| flight.through.begins_by(all);
        self.outcome_of_all(all).is_some() && !self.under_way.is_some_and(is_among)
    }

    /// All that no flush has covered yet.
    pub(super) fn everything(&self) -> Owed {
        self.tickets.unsettled()
    }

    /// When a timer must look after the queue, if something waits and nobody looks after it; then a timer counts as
    /// set. Who ends a flush that is under way asks again.
    pub(super) fn set_timer(&mut self) -> Option<u64> {
        if self.timer_set || self.under_way.is_some() || self.is_empty() {
            return None;
        }
        self.timer_set = true;
        self.due_ns()
    }

    /// The timer came. Whether what waits has waited long enough.
    pub(super) fn timer_came(&mut self) -> Due {
        self.timer_set = false;
        match self.due_ns() {
            Some(due_ns) if self.platform.now_ns() >= due_ns => Due::Now,
            _ => Due::Later,
        }
    }

    /// When the first of what waits will have waited long enough.
    fn due_ns(&self) -> Option<u64> {
        let waiting = self.waiting.as_ref()?;
        Some(waiting.oldest_ns.saturating_add(self.limits.window_ns))
    }

    pub(super) fn figures(&self) -> FlushFigures {
        let (mut waiting, mut waiting_bytes) = self.staged_by_owners();
        if let Some(queued) = &self.waiting {
            waiting += queued.entries.len() as u64 + queued.owned;
            waiting_bytes += queued.bytes;
        }
        if let Some(flight) = self.under_way {
            waiting += flight.entries;
            waiting_bytes += flight.bytes;
        }
        FlushFigures {
            waiting,
            waiting_bytes,
            retired: self.figures.retired + self.retired_by_owners(),
            ..self.figures
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FlushLimits;

    #[test]
    fn more_may_wait_where_there_are_more_cpus() {
        let of = [0, 1, 4, 5, 64, 256, usize::MAX].map(FlushLimits::entries_for);
        assert_eq!(of, [512, 512, 2048, 2560, 4096, 4096, 4096]);
    }
}

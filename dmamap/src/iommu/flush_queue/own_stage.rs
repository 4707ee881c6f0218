//! What the owner of a lane has retired and the queue does not know yet.
//!
//! The owner retires without the lock, as a CPU does in its [stage](super::stage), and nobody can stop it to take in what it has
//! staged. When the stage is full, the owner flushes for itself: it knows all its ranges, and so it needs neither a lock nor what others have
//! retired, and makes no other CPU wait or fence. It draws another ticket then, and that the old one is nobody's any more says that what it
//! stood for is settled.
//!
//! A flush that others make, when they need one or time is up, is about owners too. It takes no ranges of them: it is about all of their
//! blocks, and the ranges stay the owner's to free.
//! What remains to be agreed on is which ranges such a flush is about. It says that it has begun, and only then makes the units forget;
//! the owner clears entries, and only then looks whether one has. So whoever looks in vain cleared before, and what is retired
//! later waits for the next. Both must have written before they look: the flush fences for both where the platform
//! makes other CPUs fence ([`Platform::fence_cpus`]), else each does.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::FlushQueue;
use super::covered::{Covered, order_owner};
use super::tickets::{Owed, Ticket};
use crate::addr::{BusAddr, BusRange};
use crate::iommu::RevokeError;
use crate::platform::Platform;

/// Most ranges that an owner stages.
const MOST: usize = 128;

/// What an owner has retired since it drew a ticket.
pub(in crate::iommu) struct OwnStage {
    desk: Arc<Desk>,
    fences_cpus: bool,
    /// The ticket of all of them; `None` where it has none to give.
    ticket: Option<Ticket>,
    drawn_ns: u64,
    len: usize,
    room: usize,
    /// What the queue has not counted yet.
    flushed: Option<Flushed>,
    /// As the desk says.
    staged: Staged,
    /// Where each begins, and its bytes.
    ranges: [(u64, u64); MOST],
}

/// A flush that the owner made for itself and that was confirmed.
struct Flushed {
    count: u64,
    window_ns: u64,
}

/// What an owner and the queue tell each other; two cache lines, as neighbours are prefetched in pairs and the owner writes here each time.
#[repr(align(128))]
pub(super) struct Desk {
    /// A flush has begun that is about what was retired with the ticket.
    covered: Covered,
    /// [What is staged](Staged), for whoever counts. The owner's to write.
    staged: AtomicU64,
    /// How many ranges were staged and have been settled, likewise.
    settled: AtomicU64,
    /// The [number](Ticket::number) of the ticket that the owner holds, likewise; 0 once it is settled.
    ticket: AtomicU64,
    /// Written under the queue's lock: for how many entries there is room, as long as no flush covers the ticket.
    room: AtomicU64,
    /// Written under the queue's lock: the first and the last address of all blocks that the owner has had.
    first: AtomicU64,
    last: AtomicU64,
}

/// How many ranges are staged, and their bytes: in one word, which the owner writes each time.
#[derive(Clone, Copy, Default)]
struct Staged(u64);

impl Staged {
    const COUNT_BITS: u32 = 8;

    #[inline]
    fn and(self, len_bytes: u64) -> Self {
        Self(self.0 + (len_bytes << Self::COUNT_BITS) + 1)
    }

    fn count(self) -> u64 {
        self.0 & ((1 << Self::COUNT_BITS) - 1)
    }

    fn bytes(self) -> u64 {
        self.0 >> Self::COUNT_BITS
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            covered: Covered::no(),
            staged: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            ticket: AtomicU64::new(0),
            room: AtomicU64::new(0),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
        }
    }
}

impl Desk {
    /// From the first block to the last that the owner has had, when it has retired anything.
    fn blocks(&self) -> BusRange {
        let first = self.first.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        BusRange::of_existing(BusAddr::new(first), last.saturating_sub(first) + 1)
    }

    fn staged(&self) -> Staged {
        Staged(self.staged.load(Ordering::Relaxed))
    }
}

impl OwnStage {
    /// A stage that the queue, which is used by `with`, knows of; `None` where there is no memory for it. Nothing is allocated in
    /// `with`.
    pub(in crate::iommu) fn of<P: Platform>(
        platform: P,
        with: impl Fn(&mut dyn FnMut(&mut FlushQueue<P>)),
    ) -> Option<Self> {
        let desk = Arc::new(Desk::default());
        let (mut count, mut is_in) = (0, false);
        while !is_in {
            let mut room = Vec::new();
            room.try_reserve(count + 1).ok()?;
            with(&mut |queue| {
                count = queue.desks.len();
                is_in = queue.take_desk(&desk, &mut room);
            });
        }
        Some(Self {
            desk,
            fences_cpus: platform.fences_cpus(),
            ticket: None,
            drawn_ns: 0,
            len: 0,
            room: 0,
            flushed: None,
            staged: Staged::default(),
            ranges: [(0, 0); MOST],
        })
    }

    /// Clears entries by `clear`, and says what is owed for `range`, whose they are. `None` where it is not staged: it was cleared all
    /// the same, and the owner is to [settle](Self::owed) what it has staged before it draws another ticket.
    #[inline]
    pub(in crate::iommu) fn retire(
        &mut self,
        range: BusRange,
        clear: impl FnOnce(),
    ) -> Option<Owed> {
        clear();
        order_owner(self.fences_cpus);
        self.stage(range)
    }

    /// Whether there is a ticket, and room.
    #[inline]
    pub(in crate::iommu) fn has_room(&self) -> bool {
        self.len < self.room
    }

    /// Stages a range whose entries were cleared.
    #[inline]
    pub(in crate::iommu) fn stage(&mut self, range: BusRange) -> Option<Owed> {
        let ticket = self.ticket.filter(|_| self.len < self.room)?;
        if self.desk.covered.is_set() {
            return None;
        }
        self.ranges[self.len] = (range.start().as_u64(), range.len_bytes());
        self.len += 1;
        self.staged = self.staged.and(range.len_bytes());
        self.desk.staged.store(self.staged.0, Ordering::Relaxed);
        Some(Owed::one(ticket, range))
    }

    /// Whether a flush that others make is about what is staged. One that begins later may be, too.
    pub(in crate::iommu) fn is_covered(&self) -> bool {
        self.desk.covered.is_set()
    }

    /// What a flush that others make must settle before the ranges that are staged are free.
    pub(in crate::iommu) fn owed(&self) -> Owed {
        let ticket = self.ticket.filter(|_| self.len > 0);
        ticket.map_or(Owed::NOTHING, |ticket| {
            Owed::one(ticket, self.desk.blocks())
        })
    }

    /// From the first address that is staged to the last; `None` where nothing is.
    pub(in crate::iommu) fn extent(&self) -> Option<BusRange> {
        let mut ends = (u64::MAX, 0);
        for (start, len_bytes) in &self.ranges[..self.len] {
            ends = (ends.0.min(*start), ends.1.max(start + (len_bytes - 1)));
        }
        let len_bytes = ends.1.checked_sub(ends.0)? + 1;
        Some(BusRange::of_existing(BusAddr::new(ends.0), len_bytes))
    }

    /// The ranges that are staged.
    pub(in crate::iommu) fn ranges(&self) -> impl Iterator<Item = BusRange> + '_ {
        let ranges = self.ranges[..self.len].iter();
        ranges.map(|&(start, len_bytes)| BusRange::of_existing(BusAddr::new(start), len_bytes))
    }

    /// Units have confirmed, when the owner asked them at `now_ns`, to know nothing of what is staged: so its ticket is settled, and
    /// only then its addresses are free.
    pub(in crate::iommu) fn note_flushed(&mut self, now_ns: u64) {
        self.desk.ticket.store(0, Ordering::Release);
        self.flushed = Some(Flushed {
            count: self.len as u64,
            window_ns: now_ns.saturating_sub(self.drawn_ns),
        });
    }

    /// Nothing is staged any more, and there is no ticket.
    pub(in crate::iommu) fn clear(&mut self) {
        self.ticket = None;
        self.room = 0;
        let settled = self.desk.settled.load(Ordering::Relaxed) + self.len as u64;
        self.desk.settled.store(settled, Ordering::Relaxed);
        self.len = 0;
        self.staged = Staged::default();
        self.desk.staged.store(0, Ordering::Relaxed);
    }
}

impl<P: Platform> FlushQueue<P> {
    /// Takes a desk in, if `room` is enough for all, which comes back with what was room before.
    fn take_desk(&mut self, desk: &Arc<Desk>, room: &mut Vec<Arc<Desk>>) -> bool {
        if room.capacity() <= self.desks.len() {
            return false;
        }
        room.append(&mut self.desks);
        core::mem::swap(room, &mut self.desks);
        self.desks.push(desk.clone());
        true
    }

    /// The owner of the stage stages nothing more, and has nothing staged.
    pub(in crate::iommu) fn remove_stage(&mut self, stage: &mut OwnStage) {
        self.count_flushed(stage);
        self.figures.retired += stage.desk.settled.load(Ordering::Relaxed);
        self.staged -= stage.desk.room.swap(0, Ordering::Relaxed) as usize;
        self.desks.retain(|desk| !Arc::ptr_eq(desk, &stage.desk));
    }

    /// The owner has a block with these addresses.
    pub(in crate::iommu) fn add_block(&mut self, stage: &OwnStage, block: BusRange) {
        let (first, last) = (block.start().as_u64(), block.last().as_u64());
        stage.desk.first.fetch_min(first, Ordering::Relaxed);
        stage.desk.last.fetch_max(last, Ordering::Relaxed);
    }

    /// Gives an owner a ticket, who has nothing staged; whether it has one then: there must be room.
    pub(in crate::iommu) fn draw_for(&mut self, stage: &mut OwnStage) -> bool {
        debug_assert!(stage.len == 0);
        self.count_flushed(stage);
        // Nobody holds the one of before, also if there is no other.
        stage.desk.ticket.store(0, Ordering::Relaxed);
        self.staged -= stage.desk.room.swap(0, Ordering::Relaxed) as usize;
        // All owners and CPUs together are to leave something for what is retired elsewhere.
        let room = (self.limits.entries / 4).min(MOST).min(self.room_left());
        if room == 0 {
            return false;
        }
        self.note_first();
        self.staged += room;
        stage.desk.room.store(room as u64, Ordering::Relaxed);
        stage.desk.covered.unset();
        let ticket = self.tickets.draw_for_owner();
        stage.desk.ticket.store(ticket.number(), Ordering::Relaxed);
        stage.ticket = Some(ticket);
        stage.drawn_ns = self.platform.now_ns();
        stage.room = room;
        true
    }

    /// Counts the flush that the owner made for itself.
    fn count_flushed(&mut self, stage: &mut OwnStage) {
        if let Some(flushed) = stage.flushed.take() {
            self.figures.note_flush(flushed.count, flushed.window_ns);
        }
    }

    /// The flush of what is staged ended with `error`, whoever made it.
    pub(in crate::iommu) fn lose_stage(&mut self, stage: &OwnStage, error: RevokeError) {
        if let Some(ticket) = stage.ticket {
            self.tickets.lose(ticket, error);
        }
    }

    /// Counts what is staged as lost, after a flush that its owner made.
    pub(in crate::iommu) fn count_lost_stage(&mut self, stage: &OwnStage) {
        self.count_lost(stage.len as u64, stage.staged.bytes());
    }

    /// Whether `owed` is an owner's who has settled it, by a flush for itself: it would hold the ticket else.
    pub(super) fn is_settled_by_owner(&self, owed: Owed) -> bool {
        let is_held = |ticket: Ticket| {
            let mut desks = self.desks.iter();
            desks.any(|desk| desk.ticket.load(Ordering::Acquire) == ticket.number())
        };
        owed.of_an_owner().is_some_and(|ticket| !is_held(ticket))
    }

    /// What owners have staged that no flush is about yet, as far as is known: how many ranges, and their bytes.
    pub(super) fn staged_by_owners(&self) -> (u64, u64) {
        let desks = self.desks.iter();
        let uncovered = desks.filter(|desk| desk.room.load(Ordering::Relaxed) > 0);
        uncovered.fold((0, 0), |(count, bytes), desk| {
            let staged = desk.staged();
            (count + staged.count(), bytes + staged.bytes())
        })
    }

    /// How many ranges owners have staged so far that are not among those that the queue has counted.
    pub(super) fn retired_by_owners(&self) -> u64 {
        let of_each = self
            .desks
            .iter()
            .map(|desk| desk.settled.load(Ordering::Relaxed) + desk.staged().count());
        of_each.sum()
    }

    /// The next flush is about what all owners have staged: about all of their blocks. If there is any, whoever makes it has CPUs
    /// fence first.
    pub(in crate::iommu) fn cover_all(&mut self) {
        let mut is_any = false;
        let desks = core::mem::take(&mut self.desks);
        for desk in &desks {
            is_any |= self.cover_desk(desk);
        }
        self.desks = desks;
        if let Some(waiting) = &mut self.waiting {
            waiting.cpus_fence |= is_any;
        }
    }

    /// The next flush is about what is staged at a desk, unless an earlier one is; whether it is.
    fn cover_desk(&mut self, desk: &Desk) -> bool {
        let room = desk.room.swap(0, Ordering::Relaxed) as usize;
        if room == 0 {
            return false;
        }
        self.staged -= room;
        desk.covered.set();
        if let Some(waiting) = &mut self.waiting {
            let blocks = desk.blocks();
            let (start, len_bytes) = (blocks.start().as_u64(), blocks.len_bytes());
            waiting.gather.add_leaves(start, len_bytes);
            let staged = desk.staged();
            waiting.owned += staged.count();
            waiting.is_for_owners = true;
            waiting.bytes += staged.bytes();
        }
        true
    }
}

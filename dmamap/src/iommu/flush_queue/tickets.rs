//! What tells a retired mapping that a flush has covered it.
//!
//! Each retired mapping draws a ticket, the next number. Flushes settle tickets in order, everything up to one at
//! once, so one number says how far they have come; only flushes that failed are remembered apart.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{BusAddr, BusRange};
use crate::iommu::RevokeError;

/// A place in the order in which mappings of a domain were retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// The tickets that must be settled before some memory is out of the device's reach: those of one mapping, or of
/// several of the same memory, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    first: u64,
    /// Inclusive; 0 where nothing is owed.
    last: u64,
    /// The bus addresses it is about, and perhaps others between them: first and last.
    bus: (u64, u64),
}

impl Owed {
    /// The device has lost it already.
    pub(crate) const NOTHING: Self = Self {
        first: 0,
        last: 0,
        bus: (u64::MAX, 0),
    };

    /// The ticket of one mapping, which was at `range`.
    #[inline]
    pub(crate) fn one(Ticket(number): Ticket, range: BusRange) -> Self {
        Self {
            first: number,
            last: number,
            bus: (range.start().as_u64(), range.last().as_u64()),
        }
    }

    /// These and `later` ones of the same memory.
    pub(crate) fn and(self, later: Self) -> Self {
        match (self.is_nothing(), later.is_nothing()) {
            (true, _) => later,
            (_, true) => self,
            _ => Self {
                first: self.first.min(later.first),
                last: self.last.max(later.last),
                bus: (self.bus.0.min(later.bus.0), self.bus.1.max(later.bus.1)),
            },
        }
    }

    /// Whether no ticket is among them.
    pub(crate) fn is_nothing(self) -> bool {
        self.last == 0
    }

    /// The bus addresses of the mappings, and what lies between them; `None` where that is not known.
    pub(crate) fn range(self) -> Option<BusRange> {
        let (first, last) = self.bus;
        let len_bytes = last.checked_sub(first)?.saturating_add(1);
        BusRange::new(BusAddr::new(first), len_bytes).ok()
    }
}

/// The last ticket up to which every flush was confirmed, for those who ask without the lock. Once one has failed it stays
/// where it is.
#[derive(Default)]
pub(crate) struct Confirmed(AtomicU64);

impl Confirmed {
    /// Whether units have confirmed all that `owed` stands for. If not, the tickets themselves say.
    #[inline]
    pub(crate) fn covers(&self, owed: Owed) -> bool {
        owed.last <= self.0.load(Ordering::Acquire)
    }
}

/// Tickets whose flush was not confirmed.
#[derive(Clone, Copy)]
struct Lost {
    first: u64,
    last: u64,
    error: RevokeError,
}

/// How many separate runs of lost tickets are told apart. With more, the tickets between the last two count as lost
/// too: their memory is kept for nothing, and not the other way round.
const MAX_LOST: usize = 8;

/// The tickets of one domain.
pub(super) struct Tickets {
    drawn: u64,
    settled: u64,
    lost: [Option<Lost>; MAX_LOST],
}

impl Tickets {
    pub(super) const fn new() -> Self {
        Self {
            drawn: 0,
            settled: 0,
            lost: [None; MAX_LOST],
        }
    }

    /// The next ticket. 2^64 are never drawn.
    pub(super) fn draw(&mut self) -> Ticket {
        self.drawn += 1;
        Ticket(self.drawn)
    }

    /// All that are not settled.
    pub(super) fn unsettled(&self) -> Owed {
        if self.settled == self.drawn {
            return Owed::NOTHING;
        }
        Owed {
            first: self.settled + 1,
            last: self.drawn,
            ..Owed::NOTHING
        }
    }

    /// Says of all tickets up to the last of `through` that are not settled yet how their flush ended.
    pub(super) fn settle(&mut self, through: Owed, outcome: Result<(), RevokeError>) {
        let first = self.settled + 1;
        let last = through.last;
        if last < first {
            return;
        }
        self.settled = last;
        let Err(error) = outcome else { return };
        let lost = Lost { first, last, error };
        match self.lost.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(lost),
            None => {
                if let Some(Some(newest)) = self.lost.last_mut() {
                    newest.last = last;
                }
            }
        }
    }

    /// Tells `confirmed` how far flushes have come, while none has failed.
    pub(super) fn publish(&self, confirmed: &Confirmed) {
        if self.lost[0].is_none() {
            confirmed.0.store(self.settled, Ordering::Release);
        }
    }

    /// Whether `owed` is settled, and how; `None` while it is not. One lost ticket among them is enough for an error,
    /// at once.
    pub(super) fn outcome(&self, owed: Owed) -> Option<Result<(), RevokeError>> {
        if owed.is_nothing() {
            return Some(Ok(()));
        }
        let mut lost = self.lost.iter().flatten();
        match lost.find(|lost| lost.first <= owed.last && owed.first <= lost.last) {
            Some(lost) => Some(Err(lost.error)),
            None if owed.last <= self.settled => Some(Ok(())),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const ERROR: RevokeError = RevokeError::DetachUnconfirmed;

    fn drawn(tickets: &mut Tickets) -> Owed {
        let ticket = tickets.draw();
        let page = BusRange::new(BusAddr::new(ticket.0 << 12), 4096).unwrap();
        Owed::one(ticket, page)
    }

    #[test]
    fn a_flush_settles_all_tickets_drawn_before_it_and_none_after() {
        let mut tickets = Tickets::new();
        let [first, second] = [drawn(&mut tickets), drawn(&mut tickets)];
        let taken = tickets.unsettled();
        let third = drawn(&mut tickets);
        assert_eq!(tickets.outcome(first), None);
        tickets.settle(taken, Ok(()));
        assert_eq!(tickets.outcome(first), Some(Ok(())));
        assert_eq!(tickets.outcome(second), Some(Ok(())));
        assert_eq!(tickets.outcome(third), None);
        assert_eq!(tickets.outcome(first.and(third)), None);
        let confirmed = Confirmed::default();
        assert!(confirmed.covers(Owed::NOTHING) && !confirmed.covers(first));
        tickets.publish(&confirmed);
        assert!(confirmed.covers(second) && !confirmed.covers(first.and(third)));
    }

    #[test]
    fn what_was_lost_stays_lost_whatever_comes_after() {
        let mut tickets = Tickets::new();
        let first = drawn(&mut tickets);
        let all = tickets.unsettled();
        tickets.settle(all, Err(ERROR));
        let second = drawn(&mut tickets);
        assert_eq!(tickets.outcome(first), Some(Err(ERROR)));
        // Memory that was mapped a second time hangs on both.
        assert_eq!(tickets.outcome(first.and(second)), Some(Err(ERROR)));
        assert_eq!(tickets.outcome(second), None);
        let all = tickets.unsettled();
        tickets.settle(all, Ok(()));
        assert_eq!(tickets.outcome(second), Some(Ok(())));
        assert_eq!(tickets.outcome(first), Some(Err(ERROR)));
    }

    #[test]
    fn more_losses_than_are_told_apart_are_never_forgotten() {
        let mut tickets = Tickets::new();
        let mut lost = Vec::new();
        for _ in 0..4 * MAX_LOST {
            lost.push(drawn(&mut tickets));
            let all = tickets.unsettled();
            tickets.settle(all, Err(ERROR));
            drawn(&mut tickets);
            let all = tickets.unsettled();
            tickets.settle(all, Ok(()));
        }
        let confirmed = Confirmed::default();
        tickets.publish(&confirmed);
        for owed in lost {
            assert_eq!(tickets.outcome(owed), Some(Err(ERROR)));
            assert!(!confirmed.covers(owed));
        }
        let healthy = drawn(&mut tickets);
        let all = tickets.unsettled();
        tickets.settle(all, Ok(()));
        assert_eq!(tickets.outcome(healthy), Some(Ok(())));
    }

    #[test]
    fn nothing_owed_is_settled_from_the_beginning() {
        let mut tickets = Tickets::new();
        assert_eq!(tickets.outcome(Owed::NOTHING), Some(Ok(())));
        let one = drawn(&mut tickets);
        assert_eq!(Owed::NOTHING.and(one), one);
        assert_eq!(one.and(Owed::NOTHING), one);
        let two = drawn(&mut tickets);
        let range = BusRange::new(BusAddr::new(0x1000), 0x2000).unwrap();
        assert_eq!(one.and(two).range(), Some(range));
        assert_eq!(Owed::NOTHING.range(), None);
    }
}

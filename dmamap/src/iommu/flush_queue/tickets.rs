//! What tells a retired mapping that a flush has covered it.
//!
//! Each retired mapping draws a ticket, the next number. Shared flushes settle tickets in order, everything up to one at
//! once, so one number says how far they have come; only flushes that failed are remembered apart. The owner of a lane may flush for
//! itself before: its tickets are [told from others](Owed::of_an_owner), and who holds one still is known where they are drawn.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{BusAddr, BusRange};
use crate::iommu::RevokeError;

/// A place in the order in which mappings of a domain were retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// Not 0.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

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

    /// The ticket, if it is [an owner's](Tickets::draw_for_owner), and there is no other.
    pub(super) fn of_an_owner(self) -> Option<Ticket> {
        (self.first == self.last && self.last & OWNERS != 0).then_some(Ticket(self.last))
    }

    /// Whether the first of them was drawn before the last of `others`, or is it.
    pub(super) fn begins_by(self, others: Self) -> bool {
        self.first <= others.last
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

/// In the number of an owner's ticket, and of no other.
const OWNERS: u64 = 1;

/// Tickets whose flush was not confirmed.
#[derive(Clone, Copy)]
struct Lost {
    first: u64,
    last: u64,
    error: RevokeError,
    flush: Flush,
}

/// Whose flush it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// An owner's, for itself.
    Own,
    Shared,
}

/// How many separate runs of lost tickets are told apart. With more, the tickets between some of them count as lost
/// too, also such as no flush has settled yet: their memory is kept for nothing until units were asked again, and not the other way round.
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

    /// The next ticket. 2^63 are never drawn.
    pub(super) fn draw(&mut self) -> Ticket {
        self.drawn = (self.drawn | OWNERS) + 1;
        Ticket(self.drawn)
    }

    /// The same for all that an owner retires until it is settled.
    pub(super) fn draw_for_owner(&mut self) -> Ticket {
        let Ticket(number) = self.draw();
        self.drawn = number | OWNERS;
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
        if let Err(error) = outcome {
            self.note_lost(Lost {
                first,
                last,
                error,
                flush: Flush::Shared,
            });
        }
    }

    /// The flush that an owner made for itself was not confirmed.
    pub(super) fn lose(&mut self, Ticket(number): Ticket, error: RevokeError) {
        self.note_lost(Lost {
            first: number,
            last: number,
            error,
            flush: Flush::Own,
        });
    }

    fn note_lost(&mut self, lost: Lost) {
        let mut known = self.lost.iter_mut().flatten();
        let contains = |known: &&mut Lost| known.first <= lost.first && lost.last <= known.last;
        if let Some(known) = known.find(contains) {
            if lost.flush == Flush::Shared {
                known.flush = lost.flush;
            }
            return;
        }
        match self.lost.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(lost),
            None => {
                if let Some(Some(newest)) = self.lost.last_mut() {
                    newest.first = newest.first.min(lost.first);
                    newest.last = newest.last.max(lost.last);
                    if lost.flush == Flush::Shared {
                        newest.flush = lost.flush;
                    }
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

    /// How the shared flushes ended that have settled `all`; `None` while one is to come. What owners have lost by flushes for themselves
    /// they know already.
    pub(super) fn outcome_of_shared(&self, all: Owed) -> Option<Result<(), RevokeError>> {
        if all.last > self.settled {
            return None;
        }
        let mut lost = self.lost.iter().flatten();
        let is_among = |lost: &&Lost| lost.first <= all.last && all.first <= lost.last;
        let lost = lost.find(|lost| lost.flush == Flush::Shared && is_among(lost));
        Some(lost.map_or(Ok(()), |lost| Err(lost.error)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const ERROR: RevokeError = RevokeError::DetachUnconfirmed;

    fn drawn(tickets: &mut Tickets) -> Owed {
        let ticket = tickets.draw();
        owed_for(ticket)
    }

    fn owed_for(ticket: Ticket) -> Owed {
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
    fn owners_tickets_are_told_from_others_and_lost_one_by_one() {
        let mut tickets = Tickets::new();
        let kinds = [false, true, true, false, true, false, false].map(|owners| {
            let ticket = match owners {
                true => tickets.draw_for_owner(),
                false => tickets.draw(),
            };
            (ticket, owners)
        });
        for pair in kinds.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        for (ticket, owners) in kinds {
            let found = owed_for(ticket).of_an_owner();
            assert_eq!(found, owners.then_some(ticket));
        }
        let [first, one, two, ..] = kinds.map(|(ticket, _)| owed_for(ticket));
        assert_eq!(one.and(two).of_an_owner(), None);
        assert_eq!(Owed::NOTHING.of_an_owner(), None);
        // More than are told apart, the later ones first.
        let later: Vec<_> = (0..2 * MAX_LOST)
            .map(|_| tickets.draw_for_owner())
            .collect();
        for &ticket in later.iter().rev() {
            tickets.lose(ticket, ERROR);
        }
        tickets.lose(kinds[2].0, ERROR);
        let all = tickets.unsettled();
        assert_eq!(tickets.outcome_of_shared(all), None);
        tickets.settle(all, Ok(()));
        assert_eq!(tickets.outcome_of_shared(all), Some(Ok(())));
        for ticket in later {
            assert_eq!(tickets.outcome(owed_for(ticket)), Some(Err(ERROR)));
        }
        assert_eq!(tickets.outcome(two), Some(Err(ERROR)));
        assert_eq!(tickets.outcome(first), Some(Ok(())));
        assert_eq!(tickets.outcome(one), Some(Ok(())));
        // A shared flush that fails between two that an owner lost says so, though both count as one run.
        let between = drawn(&mut tickets);
        let after = tickets.draw_for_owner();
        tickets.lose(after, ERROR);
        let all = tickets.unsettled();
        tickets.settle(all, Err(ERROR));
        assert_eq!(tickets.outcome_of_shared(all), Some(Err(ERROR)));
        assert_eq!(tickets.outcome(between), Some(Err(ERROR)));
    }

    #[test]
    fn nothing_owed_is_settled_from_the_beginning() {
        let mut tickets = Tickets::new();
        assert_eq!(tickets.outcome(Owed::NOTHING), Some(Ok(())));
        let one = drawn(&mut tickets);
        assert_eq!(Owed::NOTHING.and(one), one);
        assert_eq!(one.and(Owed::NOTHING), one);
        let two = drawn(&mut tickets);
        let range = BusRange::new(BusAddr::new(0x2000), 0x3000).unwrap();
        assert_eq!(one.and(two).range(), Some(range));
        assert_eq!(Owed::NOTHING.range(), None);
    }
}

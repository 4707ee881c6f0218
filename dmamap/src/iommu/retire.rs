//! Unmaps that share an invalidation: clear now, invalidate together, and only then reuse.
//!
//! The order is that of [`Domain::unmap`], with the wait put off: entries are cleared at once, and bus addresses and
//! emptied tables stay taken until a flush that began later was confirmed. Whoever needs the flush makes it, and all
//! that was retired before shares it.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::addr::BusRange;
use crate::iommu::domain::{Domain, DomainError, Inner, Reach, RevokeError, Staging};
use crate::iommu::flush_queue::{Due, Flight, FlushFigures, FlushQueue, Owed, Room, order_flush};
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::{Change, UnitError};
use crate::pagetable::{Gather, TableChange};
use crate::platform::Platform;

/// How long one waits for a flush that somebody else makes, before one invalidates for oneself. Somebody else may be the
/// very code that an interrupt handler, which waits here, has interrupted.
pub(super) const SHARE_NS: u64 = 100_000_000;

/// Somebody else's flush took too long.
struct TooLong;

/// A question to the queue.
type Outcome<P> = fn(&FlushQueue<P>, Owed) -> Option<Result<(), RevokeError>>;

impl<P: Platform> Domain<P> {
    /// The domain, looked after by a timer of the platform for as long as somebody shares it.
    pub(crate) fn into_shared(self) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let (weak, gate) = (weak.clone(), self.timers.clone());
            let mut domain = self;
            domain.timer = Some(Arc::new(move || {
                gate.pass(|| {
                    // It may come when nobody has the domain any more.
                    if let Some(domain) = weak.upgrade() {
                        domain.timer_came();
                    }
                });
            }));
            domain
        })
    }

    /// Lends the flush queue its room for good, so that no unmap needs memory.
    pub(crate) fn lend_flush_room(&self) -> Result<(), DomainError> {
        Ok(self.inner.lock().queue.lend_room(Room::Kept)?)
    }

    /// Clears the entries of `range`, and leaves it to the next flush to make it unreachable. Its addresses are not
    /// chosen again before. Returns what [`flush_through`](Self::flush_through) is to be asked for.
    ///
    /// # Errors
    /// [`RevokeError`] when that will never be confirmed; what is not one mapping, whole, is refused before anything changes.
    pub(crate) fn retire(&self, range: BusRange) -> Result<Owed, RevokeError> {
        let (owed, timer) = loop {
            let mut guard = self.inner.lock();
            let inner = &mut *guard;
            match inner.reach {
                Reach::Live => {}
                Reach::Revoked => return Ok(Owed::NOTHING),
                Reach::Unconfirmed => return Err(RevokeError::DetachUnconfirmed),
            }
            if inner.queue.is_full() {
                drop(guard);
                match self.make_room() {
                    true => continue,
                    false => return self.unmap(range).map(|()| Owed::NOTHING),
                }
            }
            let lent = inner.queue.lend_room(Room::Lent);
            let held_tables = inner.queue.holds_tables();
            if lent.is_err() || inner.queue.is_full() {
                // Without memory to put it off, it is done now.
                drop(guard);
                return self.unmap(range).map(|()| Owed::NOTHING);
            }
            let mut gather = Gather::new(self.platform);
            self.clear_locked(inner, range, &mut gather)?;
            // From now until the flush, maps must invalidate too.
            if !held_tables && gather.tables() == TableChange::Unlinked {
                inner.unlinking += 1;
            }
            inner.queue.gather(gather);
            break (inner.queue.push(range), inner.queue.set_timer());
        };
        self.call_at(timer);
        Ok(owed)
    }

    /// As [`retire`](Self::retire), of a mapping that somebody owns.
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    ///
    /// # Safety
    /// `range` is what a call of this domain returned that mapped it, and this is the first that takes it back.
    #[inline]
    pub(crate) unsafe fn retire_owned(&self, range: BusRange) -> Result<Owed, RevokeError> {
        // SAFETY: the caller's promise.
        match unsafe { self.retire_short(range) } {
            Some(ticket) => Ok(Owed::one(ticket, range)),
            // SAFETY: as above: nothing was done.
            None => unsafe { self.retire_any(range) },
        }
    }

    /// As [`retire_owned`](Self::retire_owned), the short way of pages at hand in the block that this CPU chose from last; whether it could go
    /// that way. Else nothing was done.
    ///
    /// # Safety
    /// As [`retire_owned`](Self::retire_owned), if it says so.
    #[inline]
    pub(crate) unsafe fn retire_plain(&self, range: BusRange) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.retire_short(range) }.is_some()
    }

    /// As [`retire_owned`](Self::retire_owned).
    ///
    /// # Safety
    /// As [`retire_owned`](Self::retire_owned).
    #[inline(never)]
    unsafe fn retire_any(&self, range: BusRange) -> Result<Owed, RevokeError> {
        for _ in 0..2 {
            // SAFETY: the caller's promise; the first does nothing where there is a second.
            match unsafe { self.retire_in_lane(range) } {
                Staging::Done(outcome) => return outcome,
                Staging::NoTicket if self.draw_ticket() => {}
                Staging::NoTicket | Staging::Elsewhere => break,
            }
        }
        self.retire(range)
    }

    /// Gives this CPU a ticket for what it retires next; whether it has one.
    #[cold]
    fn draw_ticket(&self) -> bool {
        let (drawn, timer) = {
            let mut inner = self.inner.lock();
            let lent = inner.queue.lend_room(Room::Lent);
            let drawn = lent.is_ok() && inner.reach == Reach::Live && self.exchange(&mut inner);
            (drawn, inner.queue.set_timer())
        };
        self.call_at(timer);
        drawn
    }

    /// Returns when the device has lost all that `owed` stands for.
    ///
    /// # Errors
    /// [`RevokeError`] when that was not confirmed: neither the memory nor the addresses are used again before
    /// [`recover`](Self::recover).
    pub(crate) fn flush_through(&self, owed: Owed) -> Result<(), RevokeError> {
        match self.confirmed.covers(owed) {
            true => Ok(()),
            false => self.flush_or_wait(owed, FlushQueue::outcome),
        }
    }

    /// The same, where it may not have lost it yet, as `outcome` says.
    #[inline(never)]
    fn flush_or_wait(&self, owed: Owed, outcome: Outcome<P>) -> Result<(), RevokeError> {
        if let Ok(outcome) = self.wait_for(|inner| inner.outcome(owed, outcome)) {
            return outcome;
        }
        // Addresses and tables are still the other flush's to free.
        self.invalidate_unshared(owed.range().unwrap_or_else(|| self.aperture()))
    }

    /// Makes the units forget a range for oneself, whatever becomes of what others are at.
    pub(super) fn invalidate_unshared(&self, range: BusRange) -> Result<(), RevokeError> {
        let change = Change {
            range,
            tables: TableChange::Unlinked,
        };
        Ok(self.each_walker(|unit| unit.invalidate(self.id, change))?)
    }

    /// Whether the device has lost all that `owed` stands for, and how that ended; `None` while a flush is to come.
    pub(crate) fn outcome(&self, owed: Owed) -> Option<Result<(), RevokeError>> {
        match self.confirmed.covers(owed) {
            true => Some(Ok(())),
            false => self.inner.lock().outcome(owed, FlushQueue::outcome),
        }
    }

    /// Returns when the device has lost all that was retired before.
    ///
    /// # Errors
    /// [`RevokeError`] when some of it was not confirmed.
    pub(crate) fn flush(&self) -> Result<(), RevokeError> {
        let everything = self.inner.lock().queue.everything();
        match everything.is_nothing() {
            true => Ok(()),
            false => self.flush_or_wait(everything, FlushQueue::outcome_of_all),
        }
    }

    /// As [`flush`](Self::flush), and returns only when the addresses and tables that waited are free, or kept as
    /// unconfirmed. Whoever makes the flush waits for no longer than the units' bound; this is not for interrupt context,
    /// which may be what keeps them from it.
    pub(crate) fn settle(&self) {
        let everything = self.inner.lock().queue.everything();
        let is_over = |queue: &FlushQueue<P>| queue.has_landed(everything);
        while let Err(TooLong) = self.wait_until(is_over) {}
    }

    /// Flushes, as bus addresses may be missing that wait for it; whether any did. Where somebody else's flush takes too long it is as if
    /// none had.
    #[cold]
    pub(crate) fn flush_addresses(&self) -> bool {
        let everything = self.inner.lock().queue.everything();
        let is_over = |queue: &FlushQueue<P>| queue.has_landed(everything);
        !everything.is_nothing() && self.wait_until(is_over).is_ok()
    }

    /// What flushes add up to.
    pub(crate) fn flush_figures(&self) -> FlushFigures {
        let mut inner = self.inner.lock();
        self.take_in_stages(&mut inner);
        inner.queue.figures()
    }

    /// Ends the time in which whoever maps must invalidate for itself, where tables that wait for a flush are the
    /// reason; whether another reason is left.
    pub(super) fn flush_tables(&self) -> bool {
        // Whether or not that took too long: what is left says it.
        let _ = self.wait_until(|queue| !queue.holds_tables());
        self.inner.lock().unlinking > 0
    }

    /// Lets no timer in any more, and waits until no timer and no flush is under way, for a while: then nothing is left
    /// but what the domain's owners hold.
    pub(super) fn await_flush(&self) {
        self.timers.close();
        let give_up_ns = self.platform.now_ns().saturating_add(SHARE_NS);
        while self.timers.are_in() || self.inner.lock().queue.is_under_way() {
            if self.platform.now_ns() >= give_up_ns {
                break;
            }
            self.platform.relax();
        }
    }

    /// What the next flush is about, with all that CPUs have retired without the lock.
    fn take_flight(&self, inner: &mut Inner<P>) -> Option<Flight<P>> {
        if inner.queue.may_take() {
            self.take_in_stages(inner);
            inner.queue.cover_all();
        }
        inner.queue.take()
    }

    /// Flushes, or waits for who does, while nothing more can be retired; whether it can then.
    pub(super) fn make_room(&self) -> bool {
        self.wait_until(|queue| !queue.is_full()).is_ok()
    }

    /// Flushes, or waits for who does, until `done` says yes of the queue, or the domain ended.
    fn wait_until(&self, done: impl Fn(&FlushQueue<P>) -> bool) -> Result<(), TooLong> {
        self.wait_for(|inner| (inner.reach != Reach::Live || done(&inner.queue)).then_some(()))
    }

    /// The same until `answer` has one.
    fn wait_for<T>(&self, answer: impl Fn(&Inner<P>) -> Option<T>) -> Result<T, TooLong> {
        let mut give_up_ns = None;
        let mut is_over = || {
            let now_ns = self.platform.now_ns();
            now_ns >= *give_up_ns.get_or_insert(now_ns.saturating_add(SHARE_NS))
        };
        loop {
            let mut inner = self.inner.lock();
            if let Some(answer) = answer(&inner) {
                return Ok(answer);
            }
            let flight = self.take_flight(&mut inner);
            drop(inner);
            match flight {
                Some(flight) => self.fly(flight),
                None if is_over() => return Err(TooLong),
                None => self.platform.relax(),
            }
        }
    }

    /// Makes the units forget what was taken out of the queue, waits, and frees what that frees. Not under the lock:
    /// other CPUs map and retire meanwhile.
    fn fly(&self, flight: Flight<P>) {
        let (range, tables) = (flight.gather.range(), flight.gather.tables());
        let cpus_fence = flight.cpus_fence;
        let crash_on_unwind = CrashOnUnwind {
            domain: self,
            flight: Some(flight),
        };
        if cpus_fence {
            // Owners were told of the flush under the lock. Not there, as all others wait for it while CPUs fence.
            order_flush(self.platform);
        }
        let invalidated = range.map_or(Ok(()), |range| {
            self.each_walker(|unit| unit.invalidate(self.id, Change { range, tables }))
        });
        let Some(flight) = crash_on_unwind.disarm() else {
            return;
        };
        let mut inner = self.inner.lock();
        let reach = inner.reach;
        let outcome = match reach {
            Reach::Revoked => Ok(()),
            Reach::Live | Reach::Unconfirmed => invalidated.map_err(RevokeError::from),
        };
        if let Err(error) = outcome {
            let timer = self.keep_flight(&mut inner, flight, error);
            drop(inner);
            log_unconfirmed(error);
            return self.call_at(timer);
        }
        if tables == TableChange::Unlinked {
            inner.unlinking -= 1;
        }
        // Before its addresses are free: whoever retired them is not to find them in use and the flush to come.
        inner.queue.settle(&flight, outcome);
        inner.queue.publish(&self.confirmed);
        drop(inner);
        // Not under the lock, as they may be many. Where the domain ends meanwhile they are nobody's.
        let emptied = match reach {
            // SAFETY: their entries were cleared when they were retired, and every unit has confirmed to know them no more.
            Reach::Live => unsafe { self.free_all(flight.ranges()) },
            Reach::Revoked | Reach::Unconfirmed => Gather::new(self.platform),
        };
        let mut inner = self.inner.lock();
        let gather = inner.queue.land(flight);
        let timer = inner.queue.set_timer();
        drop(inner);
        // SAFETY: the tables were unlinked under the lock before the flush began, and every unit that walked them
        // has confirmed that nothing of them is cached and requests in flight have drained; or that no device is
        // in the domain any more.
        unsafe { gather.release() };
        self.finish(emptied);
        self.call_at(timer);
    }

    /// Flushes what has waited long enough. In interrupt context, perhaps of the very CPU that makes a flush: so it
    /// waits for none.
    fn timer_came(&self) {
        let (flight, timer) = {
            let mut inner = self.inner.lock();
            let flight = match inner.queue.timer_came() {
                Due::Now => self.take_flight(&mut inner),
                Due::Later => None,
            };
            match flight {
                Some(flight) => (Some(flight), None),
                None => (None, inner.queue.set_timer()),
            }
        };
        if let Some(flight) = flight {
            self.fly(flight);
        }
        self.call_at(timer);
    }

    /// A flush ended as `error` says: keeps its addresses and tables until units are asked again, and tells those who
    /// wait. In one step, as who was told may ask at once. Returns when a timer is due.
    fn keep_flight(
        &self,
        inner: &mut Inner<P>,
        flight: Flight<P>,
        error: RevokeError,
    ) -> Option<u64> {
        self.keep_addresses(inner, flight.ranges());
        inner.queue.settle(&flight, Err(error));
        let gather = inner.queue.land(flight);
        inner.give_up(Unconfirmed::of(gather));
        inner.queue.set_timer()
    }

    /// Lets the timer come at `deadline_ns`.
    pub(super) fn call_at(&self, deadline_ns: Option<u64>) {
        if let (Some(deadline_ns), Some(timer)) = (deadline_ns, &self.timer) {
            self.platform.call_at(deadline_ns, timer.clone());
        }
    }
}

/// Says that a flush ended with `error`.
pub(super) fn log_unconfirmed(error: RevokeError) {
    // A suspended unit is one that somebody stopped: whoever resumes it recovers what waits.
    let level = match error {
        RevokeError::Unit(UnitError::Asleep { .. }) => log::Level::Debug,
        _ => log::Level::Error,
    };
    log::log!(level, "a flush was not confirmed: {error}");
}

/// What timers pass to look after a domain: once it is closed and nobody is in it, no timer holds the domain.
#[derive(Default)]
pub(super) struct TimerGate {
    closed: AtomicBool,
    inside: AtomicUsize,
}

impl TimerGate {
    fn pass(&self, timer: impl FnOnce()) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        if !self.closed.load(Ordering::SeqCst) {
            timer();
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn are_in(&self) -> bool {
        self.inside.load(Ordering::SeqCst) > 0
    }
}

impl<P: Platform> Inner<P> {
    /// Whether the device has lost all that `owed` stands for, and how that ended, as the queue says by `outcome`; `None` while a
    /// flush is to come.
    fn outcome(&self, owed: Owed, outcome: Outcome<P>) -> Option<Result<(), RevokeError>> {
        match self.reach {
            // Whoever ended the domain took everything away, and was told so by the units.
            Reach::Revoked => Some(Ok(())),
            Reach::Live | Reach::Unconfirmed => outcome(&self.queue, owed),
        }
    }
}

/// Tells those who wait for a flush that it will not end, and keeps what it was about.
struct CrashOnUnwind<'a, P: Platform> {
    domain: &'a Domain<P>,
    flight: Option<Flight<P>>,
}

impl<P: Platform> CrashOnUnwind<'_, P> {
    /// It ended. The flight is there until then.
    fn disarm(mut self) -> Option<Flight<P>> {
        self.flight.take()
    }
}

impl<P: Platform> Drop for CrashOnUnwind<'_, P> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            let mut inner = self.domain.inner.lock();
            let domain = self.domain;
            let timer = domain.keep_flight(&mut inner, flight, RevokeError::FlushCrashed);
            drop(inner);
            self.domain.call_at(timer);
        }
    }
}

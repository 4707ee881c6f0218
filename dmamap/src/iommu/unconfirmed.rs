//! What a domain's units did not confirm: kept until they do.
//!
//! An invalidation that fails leaves bus addresses that a unit may still translate, and tables that it may still walk.
//! The addresses stay [kept](crate::iova) in the domain's allocator, the tables in its [`Unconfirmed`], and one question
//! asked again settles all of them.

use crate::addr::BusRange;
use crate::iommu::domain::{Domain, Inner, Reach, RevokeError};
use crate::iommu::retire::SHARE_NS;
use crate::iommu::unit::{Change, UnitError};
use crate::iova::KeptRanges;
use crate::iova::lanes::Recall;
use crate::pagetable::{Gather, TableChange};
use crate::platform::Platform;

/// What changes left behind that no unit confirmed. Their bus addresses are kept in the allocator.
pub(super) struct Unconfirmed<P: Platform> {
    /// The addresses, and the tables that were on the way to them.
    pub(super) gather: Gather<P>,
    /// How many of [`Inner::unlinking`] these are.
    unlinking: usize,
}

impl<P: Platform> Unconfirmed<P> {
    pub(super) fn nothing(platform: P) -> Self {
        Self::of(Gather::new(platform))
    }

    /// What one invalidation was for, whose tables, if any, count once in [`Inner::unlinking`].
    pub(super) fn of(gather: Gather<P>) -> Self {
        let unlinking = usize::from(gather.tables() == TableChange::Unlinked);
        Self { gather, unlinking }
    }

    fn absorb(&mut self, other: Self) {
        self.gather.absorb(other.gather);
        self.unlinking += other.unlinking;
    }
}

impl<P: Platform> Domain<P> {
    /// Keeps what was not confirmed, as `error` says, for a later [`recover`](Self::recover).
    ///
    /// # Errors
    /// `error`, unless the domain ended meanwhile: then the units were told that nobody uses it, and confirmed that.
    pub(super) fn keep(
        &self,
        range: Option<BusRange>,
        unconfirmed: Unconfirmed<P>,
        error: UnitError,
    ) -> Result<(), UnitError> {
        let mut inner = self.inner.lock();
        self.keep_addresses(&mut inner, range);
        inner.give_up(unconfirmed);
        match inner.reach {
            Reach::Revoked => Ok(()),
            Reach::Live | Reach::Unconfirmed => Err(error),
        }
    }

    /// Keeps the addresses of mappings that were not confirmed to be gone, unless the domain has ended. Under the same lock
    /// follows [`give_up`](Inner::give_up).
    pub(super) fn keep_addresses(
        &self,
        inner: &mut Inner<P>,
        ranges: impl IntoIterator<Item = BusRange>,
    ) {
        if inner.reach == Reach::Revoked {
            return;
        }
        let mut ranges = ranges.into_iter().peekable();
        if ranges.peek().is_some() {
            // Only the space itself keeps ranges.
            let emptied = self.recall(inner, Recall::KeepingFrames);
            inner.give_up(Unconfirmed::of(emptied));
        }
        for range in ranges {
            if let Some(lent) = self.lent(inner, range) {
                // Of a lane that is not called back.
                // SAFETY: its owner gives it up, as the units are not known to have lost it.
                unsafe { lent.keep() };
                continue;
            }
            let kept = inner.iova.keep(range);
            kept.expect("a range is given up once, as it was allocated");
        }
    }

    /// Asks the units once more about all that they did not confirm. When this returns `Ok`, no device reaches anything
    /// through a mapping whose unmap failed before the call: its addresses and its tables are free again, and its
    /// memory may be.
    ///
    /// # Errors
    /// [`RevokeError`] when it was not confirmed this time either; all is kept as before.
    pub(crate) fn recover(&self) -> Result<(), RevokeError> {
        // Whoever gave up waiting for a flush that somebody else makes has memory in quarantine whose addresses are still in
        // that flush. Where it fails they are among what is asked about below.
        self.settle();
        self.ask(Recovering::begin(self))
    }

    /// As [`recover`](Self::recover) for one who has just flushed, and who may have interrupted the very code that has the turn:
    /// after a while the units forget everything for it alone, and what was kept stays so.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub(crate) fn ask_again(&self) -> Result<(), RevokeError> {
        match Recovering::begin_within(self, SHARE_NS) {
            Some(turn) => self.ask(turn),
            None => self.invalidate_unshared(self.aperture()),
        }
    }

    /// Asks about all that is not confirmed. One at a time: who finds nothing left to be confirmed must know that it was.
    fn ask(&self, _turn: Recovering<'_, P>) -> Result<(), RevokeError> {
        let mut asked = {
            let mut inner = self.inner.lock();
            match inner.reach {
                Reach::Live => {}
                Reach::Revoked => return Ok(()),
                Reach::Unconfirmed => return Err(RevokeError::DetachUnconfirmed),
            }
            let unconfirmed = inner.take_unconfirmed(self.platform);
            Asked {
                domain: self,
                about: Some((unconfirmed, inner.iova.take_kept())),
            }
        };
        let Some(range) = asked.range() else {
            return Ok(()); // No address is kept without what was left to do for it.
        };
        // Their entries were cleared and their tables unlinked before they were kept, so before this begins.
        let change = Change {
            range,
            tables: TableChange::Unlinked,
        };
        let outcome = self.each_walker(|unit| unit.invalidate(self.id, change));
        match outcome {
            Ok(()) => {
                asked.release();
                Ok(())
            }
            Err(error) => {
                drop(asked);
                match self.is_revoked() {
                    true => Ok(()),
                    false => Err(error.into()),
                }
            }
        }
    }

    /// Whether the units have confirmed all that they were asked about so far. While somebody is asking that is not known.
    pub(crate) fn is_confirmed(&self) -> bool {
        let inner = self.inner.lock();
        !inner.recovering && inner.unconfirmed.gather.range().is_none()
    }

    /// Whether every unit confirmed that no device reaches anything through the domain, and so never will.
    pub(crate) fn is_revoked(&self) -> bool {
        self.inner.lock().reach == Reach::Revoked
    }
}

/// What the units are being asked about. It goes back where it came from, also when asking ends in a panic: others of a
/// group may have memory that hangs on it.
struct Asked<'a, P: Platform> {
    domain: &'a Domain<P>,
    /// `None` once it was confirmed.
    about: Option<(Unconfirmed<P>, KeptRanges)>,
}

impl<P: Platform> Asked<'_, P> {
    /// The addresses.
    fn range(&self) -> Option<BusRange> {
        self.about.as_ref()?.0.gather.range()
    }

    /// Every unit has confirmed it.
    fn release(&mut self) {
        let Some((unconfirmed, kept)) = self.about.take() else {
            return;
        };
        {
            let mut inner = self.domain.inner.lock();
            inner.unlinking -= unconfirmed.unlinking;
            // A domain that ended meanwhile has other addresses, or rather none.
            if inner.reach != Reach::Revoked {
                inner.iova.release_kept(kept);
            }
        }
        // SAFETY: the tables were unlinked under the lock, and every unit that walked them has confirmed an invalidation
        // that began after that, with inner steps, and that requests in flight have drained.
        unsafe { unconfirmed.gather.release() };
    }
}

impl<P: Platform> Drop for Asked<'_, P> {
    fn drop(&mut self) {
        if let Some((unconfirmed, kept)) = self.about.take() {
            // In one step: addresses are kept only together with what is left to do for them.
            let mut inner = self.domain.inner.lock();
            if inner.reach != Reach::Revoked {
                inner.iova.return_kept(kept);
            }
            inner.give_up(unconfirmed);
        }
    }
}

/// The turn of one who recovers a domain.
struct Recovering<'a, P: Platform>(&'a Domain<P>);

impl<'a, P: Platform> Recovering<'a, P> {
    /// Waits for its turn. Whoever has it asks each unit once, and that is bounded.
    fn begin(domain: &'a Domain<P>) -> Self {
        loop {
            if let Some(turn) = Self::begin_within(domain, SHARE_NS) {
                return turn;
            }
        }
    }

    /// The same, for no longer than this.
    fn begin_within(domain: &'a Domain<P>, patience_ns: u64) -> Option<Self> {
        let give_up_ns = domain.platform.now_ns().saturating_add(patience_ns);
        while core::mem::replace(&mut domain.inner.lock().recovering, true) {
            if domain.platform.now_ns() >= give_up_ns {
                return None;
            }
            domain.platform.relax();
        }
        Some(Self(domain))
    }
}

impl<P: Platform> Drop for Recovering<'_, P> {
    fn drop(&mut self) {
        self.0.inner.lock().recovering = false;
    }
}

impl<P: Platform> Inner<P> {
    /// Keeps what was not confirmed, unless the domain has ended.
    pub(super) fn give_up(&mut self, unconfirmed: Unconfirmed<P>) {
        if self.reach == Reach::Revoked {
            // SAFETY: every unit confirmed that no device is in the domain, so none walks a table of it nor remembers
            // one.
            unsafe { unconfirmed.gather.release() };
            return;
        }
        self.unconfirmed.absorb(unconfirmed);
    }

    /// All that was not confirmed.
    pub(super) fn take_unconfirmed(&mut self, platform: P) -> Unconfirmed<P> {
        core::mem::replace(&mut self.unconfirmed, Unconfirmed::nothing(platform))
    }
}

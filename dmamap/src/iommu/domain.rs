//! A domain: the bus addresses a device may use, and what each reaches (Z → Y).
//!
//! A domain owns the allocator that chooses Z ([`crate::iova`]), the table that records Z → Y
//! ([`crate::pagetable`]), and knows which units walk that table. The order of `Domain::unmap` is the
//! whole point: clear the entries, invalidate, *wait*, and only then free emptied tables and let Z be
//! chosen again.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::iommu::requester::Attachment;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{Change, DomainId, Unit, UnitError, Units};
use crate::iova::{IovaError, IovaRequest, IovaSpace};
use crate::pagetable::{
    Gather, MapError as TableError, Permission, PhysList, Replay, TableChange, UnmapError,
};
use crate::platform::Platform;

/// Why a domain could not map memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No bus address is free.
    #[error(transparent)]
    Iova(#[from] IovaError),
    /// The table refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The unit did not make the mapping visible in time; it was undone.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The unit did not make the mapping visible in time, nor confirm that it was undone: the device may
    /// reach the memory.
    #[error("a mapping failed ({cause}) and was not confirmed undone ({undo}): its memory is kept")]
    Unconfirmed {
        /// Why the mapping failed.
        cause: UnitError,
        /// Why it could not be undone.
        undo: RevokeError,
    },
    /// The device was detached.
    #[error("the device was detached: its mappings are revoked")]
    Revoked,
}

/// Why a domain could not take a mapping back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The unit did not confirm in time that the device lost the memory.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// An earlier detach of the device was not confirmed.
    #[error("the device's detach was never confirmed by the IOMMU: it may still reach memory")]
    DetachUnconfirmed,
    /// The table does not hold what was to be unmapped.
    #[error(transparent)]
    Table(#[from] UnmapError),
}

/// Whether the table may still be walked, and so whether memory may be given back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Units walk the table.
    Live,
    /// No unit does, and it was confirmed.
    Revoked,
    /// A unit was told to stop but did not confirm.
    Unconfirmed,
}

struct Inner<P: Platform> {
    /// Unmaps that unlinked a table and have not been confirmed: units may still walk through it.
    unlinking: usize,
    unconfirmed: Unconfirmed<P>,
    /// Whether somebody has what was unconfirmed and is asking the units.
    recovering: bool,
    iova: IovaSpace<P>,
    table: Option<Box<dyn Translation<P>>>,
    reach: Reach,
}

/// What changes left behind that no unit confirmed. Their bus addresses are kept in the allocator.
struct Unconfirmed<P: Platform> {
    /// The addresses, and the tables that were on the way to them.
    gather: Gather<P>,
    /// How many of [`Inner::unlinking`] these are.
    unlinking: usize,
}

impl<P: Platform> Unconfirmed<P> {
    fn nothing(platform: P) -> Self {
        Self {
            gather: Gather::new(platform),
            unlinking: 0,
        }
    }

    fn absorb(&mut self, other: Self) {
        self.gather.absorb(other.gather);
        self.unlinking += other.unlinking;
    }
}

/// Bus addresses and what they reach, for the devices attached.
pub(crate) struct Domain<P: Platform> {
    platform: P,
    id: DomainId,
    units: Units<P>,
    /// log2 of the smallest page of the table.
    page_size_log2: u32,
    /// Bit n: unit n walks the table. Read without the lock when invalidating.
    walkers: AtomicU64,
    inner: lock_api::Mutex<P::Lock, Inner<P>>,
}

/// How many units one domain can span: a bit each in [`Domain::walkers`].
pub(crate) const MAX_UNITS: usize = 64;

impl<P: Platform> Domain<P> {
    /// A domain with nothing mapped, on units that `table` is in the format of.
    pub(crate) fn new(
        platform: P,
        id: DomainId,
        units: Units<P>,
        table: Box<dyn Translation<P>>,
    ) -> Result<Self, DomainError> {
        let last = table.aperture_last();
        let len = last.as_u64().saturating_add(1);
        let aperture = BusRange::new(BusAddr::new(0), len).expect("an aperture starts at 0");
        let page_size_log2 = table.page_size_log2();
        let iova = match IovaSpace::new(platform, aperture, page_size_log2) {
            Ok(iova) => iova,
            Err(error) => {
                // SAFETY: the table was never given to a unit.
                unsafe { table.free() };
                return Err(error.into());
            }
        };
        let inner = Inner {
            unlinking: 0,
            unconfirmed: Unconfirmed::nothing(platform),
            recovering: false,
            iova,
            table: Some(table),
            reach: Reach::Live,
        };
        Ok(Self {
            platform,
            id,
            units,
            page_size_log2,
            walkers: AtomicU64::new(0),
            inner: lock_api::Mutex::new(inner),
        })
    }

    /// log2 of the smallest page that can be mapped.
    pub(crate) fn page_size_log2(&self) -> u32 {
        self.page_size_log2
    }

    /// Maps memory at the bus addresses equal to its physical ones (direct regions, identity), and keeps these
    /// from ever being chosen.
    pub(crate) fn map_direct(
        &self,
        memory: PhysRange,
        permission: Permission,
    ) -> Result<(), DomainError> {
        let bus = BusAddr::new(memory.start().as_u64());
        let range = BusRange::new(bus, memory.len_bytes()).expect("as long as memory that exists");
        let mut inner = self.inner.lock();
        inner.iova.reserve(range)?;
        let table = inner.table.as_mut().ok_or(DomainError::Revoked)?;
        let mut list = Replay::new(core::iter::once(memory));
        Ok(table.map_list(bus, &mut list, permission)?)
    }

    /// Keeps `range` from ever being chosen.
    pub(crate) fn reserve(&self, range: BusRange) -> Result<(), DomainError> {
        Ok(self.inner.lock().iova.reserve(range)?)
    }

    /// Chooses bus addresses for `memory` as `request` says and records them.
    ///
    /// # Errors
    /// [`DomainError`]; but for [`DomainError::Unconfirmed`] nothing is mapped then.
    pub(crate) fn map_list(
        &self,
        request: IovaRequest,
        memory: &mut dyn PhysList,
        permission: Permission,
    ) -> Result<BusRange, DomainError> {
        let (range, unlinking) = {
            let mut inner = self.inner.lock();
            let Inner {
                unlinking,
                iova,
                table: Some(table),
                reach: Reach::Live,
                ..
            } = &mut *inner
            else {
                return Err(DomainError::Revoked);
            };
            let range = iova.allocate(request)?;
            if let Err(error) = table.map_list(range.start(), memory, permission) {
                // A table that refuses has written nothing, so no unit can have seen these addresses.
                iova.free(range).expect("the range was just allocated");
                return Err(error.into());
            }
            (range, *unlinking > 0)
        };
        // A unit that still remembers a table somebody is unlinking would walk into it, and not find what was
        // just mapped through its successor: then this mapping invalidates for itself.
        let change = Change {
            range,
            tables: TableChange::Unlinked,
        };
        let synced = self.each_walker(|unit| {
            unit.sync_map(self.id, range)?;
            if unlinking {
                unit.invalidate(self.id, change)
            } else {
                Ok(())
            }
        });
        match synced {
            Ok(()) => Ok(range),
            Err(cause) => match self.unmap(range) {
                Ok(()) => Err(cause.into()),
                Err(undo) => Err(DomainError::Unconfirmed { cause, undo }),
            },
        }
    }

    /// Makes `range` unreachable, and returns when it is.
    ///
    /// # Errors
    /// [`RevokeError`] when that was not confirmed: the device may still reach the memory, so neither the
    /// memory nor the addresses nor the emptied tables are used again before [`recover`](Self::recover).
    pub(crate) fn unmap(&self, range: BusRange) -> Result<(), RevokeError> {
        let mut gather = Gather::new(self.platform);
        {
            let mut inner = self.inner.lock();
            match inner.reach {
                Reach::Live => {}
                Reach::Revoked => return Ok(()),
                Reach::Unconfirmed => return Err(RevokeError::DetachUnconfirmed),
            }
            let table = inner.table.as_mut().expect("a live domain has a table");
            table.unmap(range, &mut gather)?;
            inner.note_unlinking(&gather);
        }
        // Not under the lock: the wait is on hardware, and other CPUs map and unmap meanwhile. The
        // addresses stay taken until it is over.
        if let Err((error, unconfirmed)) = self.sync(gather) {
            return Ok(self.keep(Some(range), unconfirmed, error)?);
        }
        let mut inner = self.inner.lock();
        if inner.reach == Reach::Live {
            inner
                .iova
                .free(range)
                .expect("a range is freed once, as it was allocated");
        }
        Ok(())
    }

    /// Invalidates what `gather` holds, waits, and frees the tables in it.
    fn sync(&self, gather: Gather<P>) -> Result<(), (UnitError, Unconfirmed<P>)> {
        let Some(range) = gather.range() else {
            return Ok(());
        };
        let change = Change {
            range,
            tables: gather.tables(),
        };
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                // SAFETY: the tables were unlinked under the lock, and every unit that walked them has
                // confirmed that nothing of them is cached and requests in flight have drained.
                unsafe { gather.release() };
                if change.tables == TableChange::Unlinked {
                    self.inner.lock().unlinking -= 1;
                }
                Ok(())
            }
            Err(error) => {
                let unlinking = usize::from(change.tables == TableChange::Unlinked);
                Err((error, Unconfirmed { gather, unlinking }))
            }
        }
    }

    /// Keeps what was not confirmed, as `error` says, for a later [`recover`](Self::recover).
    ///
    /// # Errors
    /// `error`, unless the domain ended meanwhile: then the units were told that nobody uses it, and confirmed that.
    fn keep(
        &self,
        range: Option<BusRange>,
        unconfirmed: Unconfirmed<P>,
        error: UnitError,
    ) -> Result<(), UnitError> {
        let mut inner = self.inner.lock();
        inner.give_up(unconfirmed);
        if inner.reach == Reach::Revoked {
            return Ok(());
        }
        if let Some(range) = range {
            let kept = inner.iova.keep(range);
            kept.expect("a range is given up once, as it was allocated");
        }
        Err(error)
    }

    /// Asks the units once more about all that they did not confirm. When this returns `Ok`, no device reaches anything
    /// through a mapping whose unmap failed before the call: its addresses and its tables are free again, and its
    /// memory may be.
    ///
    /// # Errors
    /// [`RevokeError`] when it was not confirmed this time either; all is kept as before.
    pub(crate) fn recover(&self) -> Result<(), RevokeError> {
        // One at a time: who finds nothing left to be confirmed must know that it was.
        let _turn = Recovering::begin(self);
        let (unconfirmed, kept) = {
            let mut inner = self.inner.lock();
            match inner.reach {
                Reach::Live => {}
                Reach::Revoked => return Ok(()),
                Reach::Unconfirmed => return Err(RevokeError::DetachUnconfirmed),
            }
            let nothing = Unconfirmed::nothing(self.platform);
            let unconfirmed = core::mem::replace(&mut inner.unconfirmed, nothing);
            (unconfirmed, inner.iova.take_kept())
        };
        let Some(range) = unconfirmed.gather.range() else {
            return Ok(()); // No address is kept without what was left to do for it.
        };
        // Their entries were cleared and their tables unlinked before they were kept, so before this begins.
        let change = Change {
            range,
            tables: TableChange::Unlinked,
        };
        let outcome = self.each_walker(|unit| unit.invalidate(self.id, change));
        let mut inner = self.inner.lock();
        match outcome {
            Ok(()) => {
                inner.unlinking -= unconfirmed.unlinking;
                inner.iova.release_kept(kept);
                drop(inner);
                // SAFETY: the tables were unlinked under the lock, and every unit that walked them has confirmed an
                // invalidation that began after that, with inner steps, and that requests in flight have drained.
                unsafe { unconfirmed.gather.release() };
                Ok(())
            }
            Err(error) => {
                // In one step: addresses are kept only together with what is left to do for them.
                inner.iova.return_kept(kept);
                inner.give_up(unconfirmed);
                match inner.reach {
                    Reach::Revoked => Ok(()),
                    Reach::Live | Reach::Unconfirmed => Err(error.into()),
                }
            }
        }
    }

    /// Whether every unit confirmed that no device reaches anything through the domain, and so never will.
    pub(crate) fn is_revoked(&self) -> bool {
        self.inner.lock().reach == Reach::Revoked
    }

    fn each_walker(
        &self,
        mut call: impl FnMut(&dyn Unit<P>) -> Result<(), UnitError>,
    ) -> Result<(), UnitError> {
        let walkers = self.walkers.load(Ordering::Acquire);
        let mut outcome = Ok(());
        for (n, unit) in self.units.iter().enumerate() {
            if walkers & 1 << n != 0 {
                // Every unit is asked even after one failed: the others must not keep stale entries.
                outcome = outcome.and(call(&**unit));
            }
        }
        outcome
    }

    /// What units are told of the table.
    pub(crate) fn root(&self) -> Option<Translate> {
        self.inner.lock().table.as_ref().map(|table| table.root())
    }

    /// Lets `attachment` use the domain through unit number `unit`.
    pub(crate) fn attach(&self, unit: usize, attachment: Attachment) -> Result<(), DomainError> {
        let translate = self.root().ok_or(DomainError::Revoked)?;
        // Before the unit is told: from its first walk on every unmap must include it.
        self.walkers.fetch_or(1 << unit, Ordering::AcqRel);
        Ok(self.units[unit].move_to(attachment, self.id, translate)?)
    }

    /// Ends the domain, `outcome` telling whether every unit confirmed that no device is in it any more. Then no
    /// device reaches anything through it, and every mapping in it counts as revoked.
    ///
    /// # Errors
    /// `outcome`'s: the tables are kept, and later unmaps report it.
    pub(crate) fn end(&self, outcome: Result<(), UnitError>) -> Result<(), UnitError> {
        let mut inner = self.inner.lock();
        match outcome {
            Ok(()) => {
                inner.reach = Reach::Revoked;
                self.walkers.store(0, Ordering::Release);
                if let Some(table) = inner.table.take() {
                    // SAFETY: every unit has confirmed that it neither walks nor remembers the table.
                    unsafe { table.free() };
                }
                let nothing = Unconfirmed::nothing(self.platform);
                let unconfirmed = core::mem::replace(&mut inner.unconfirmed, nothing);
                // SAFETY: as above: these were the table's.
                unsafe { unconfirmed.gather.release() };
                Ok(())
            }
            Err(error) => {
                inner.reach = Reach::Unconfirmed;
                Err(error)
            }
        }
    }

    /// Z → Y: what a device that uses `bus` reaches (`iommu_iova_to_phys`), and what it may do there.
    pub(crate) fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        self.inner.lock().table.as_ref()?.lookup(bus)
    }

    /// Frames the domain holds: its table's and its allocator's.
    pub(crate) fn frames(&self) -> usize {
        let inner = self.inner.lock();
        inner.table.as_ref().map_or(0, |table| table.frames()) + inner.iova.frames()
    }

    /// Gives back frames that hold nothing: empty tables that were kept to keep walk caches warm.
    ///
    /// # Errors
    /// [`UnitError`] when the invalidation was not confirmed; the tables are kept then.
    pub(crate) fn reclaim(&self) -> Result<(), UnitError> {
        let mut gather = Gather::new(self.platform);
        {
            let mut inner = self.inner.lock();
            inner.iova.reclaim();
            if let Some(table) = inner.table.as_mut() {
                table.reclaim(&mut gather);
            }
            inner.note_unlinking(&gather);
        }
        let outcome = self.sync(gather);
        outcome.or_else(|(error, unconfirmed)| self.keep(None, unconfirmed, error))
    }
}

/// The turn of one who recovers a domain.
struct Recovering<'a, P: Platform>(&'a Domain<P>);

impl<'a, P: Platform> Recovering<'a, P> {
    /// Waits for its turn. Whoever has it asks each unit once, and that is bounded.
    fn begin(domain: &'a Domain<P>) -> Self {
        while core::mem::replace(&mut domain.inner.lock().recovering, true) {
            domain.platform.relax();
        }
        Self(domain)
    }
}

impl<P: Platform> Drop for Recovering<'_, P> {
    fn drop(&mut self) {
        self.0.inner.lock().recovering = false;
    }
}

impl<P: Platform> Inner<P> {
    /// From now until [`Domain::sync`] of `gather` has succeeded, maps must invalidate too.
    fn note_unlinking(&mut self, gather: &Gather<P>) {
        if gather.tables() == TableChange::Unlinked {
            self.unlinking += 1;
        }
    }

    /// Keeps what was not confirmed, unless the domain has ended.
    fn give_up(&mut self, unconfirmed: Unconfirmed<P>) {
        if self.reach == Reach::Revoked {
            // SAFETY: every unit confirmed that no device is in the domain, so none walks a table of it nor remembers
            // one.
            unsafe { unconfirmed.gather.release() };
            return;
        }
        self.unconfirmed.absorb(unconfirmed);
    }
}

impl<P: Platform> Drop for Domain<P> {
    fn drop(&mut self) {
        let never_walked = *self.walkers.get_mut() == 0;
        if let Some(table) = self.inner.get_mut().table.take()
            && never_walked
        {
            // SAFETY: no unit was ever told of the table.
            unsafe { table.free() };
        }
    }
}

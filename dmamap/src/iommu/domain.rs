//! A domain: the bus addresses a device may use, and what each reaches (Z → Y).
//!
//! A domain owns the allocator that chooses Z ([`crate::iova`]), the table that records Z → Y
//! ([`crate::pagetable`]), and knows which units walk that table. The order of `Domain::unmap` is the
//! whole point: clear the entries, invalidate, *wait*, and only then free emptied tables and let Z be
//! chosen again.
//!
//! | part | what it is |
//! |---|---|
//! | `error` | why memory was not mapped, or not taken back |
//! | `span` | mapping in two steps |
//! | `lanes` | mapping without the lock, each CPU on its own |
//! | `owned` | the same for the owner of a lane, whatever CPU that is on |
//! | `blocks` | the blocks of addresses that lanes are lent for it |
//! | `walkers` | the units that walk the table, and what they are told |
//! | `end` | what becomes of everything when no device is left in it |

mod at_hand;
mod blocks;
mod end;
mod error;
mod lanes;
mod owned;
mod span;
mod walkers;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::AtomicU64;

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::apart::Apart;
use crate::iommu::flush_queue::{Confirmed, FlushLimits, FlushQueue};
use crate::iommu::retire::TimerGate;
use crate::iommu::translation::Translation;
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::{DomainId, UnitError, Units};
use crate::iova::lanes::{Lender, Recall};
use crate::iova::{IovaError, IovaRequest, IovaSpace};
use crate::pagetable::{Gather, Grant, Permission, PhysList, Privileges, Replay, TableChange};
use crate::platform::{InterruptHandler, Platform};
use crate::system::AddressOrder;

pub use error::{DomainError, RevokeError};
use lanes::DomainLanes;
pub(super) use lanes::Staging;
pub(crate) use owned::DomainLane;

/// Whether the table may still be walked, and so whether memory may be given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Units walk the table.
    Live,
    /// No unit does, and it was confirmed.
    Revoked,
    /// A unit was told to stop but did not confirm.
    Unconfirmed,
}

/// Who chooses the bus addresses of a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chooser {
    /// This layer, for whoever maps.
    Layer,
    /// Whom the domain was handed over to.
    Owner,
}

/// How something was mapped, as those who make it visible must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// Every table that units may remember is still part of the walk.
    OnKeptTables,
    /// A table was being unlinked: units may look for the mapping in it.
    WhileUnlinking,
}

pub(super) struct Inner<P: Platform> {
    /// Unmaps that unlinked a table and have not been confirmed: units may still walk through it. Those that wait for
    /// one flush count once.
    pub(super) unlinking: usize,
    pub(super) unconfirmed: Unconfirmed<P>,
    /// Whether somebody has what was unconfirmed and is asking the units.
    pub(super) recovering: bool,
    pub(super) iova: IovaSpace<P>,
    /// What of it is lent to lanes.
    pub(super) lender: Lender<P>,
    pub(super) table: Option<Box<dyn Translation<P>>>,
    /// Lanes that owners have.
    owners: usize,
    /// The table of a domain that has ended, whose entries they still write.
    ended: Option<Box<dyn Translation<P>>>,
    pub(super) reach: Reach,
    pub(super) chooser: Chooser,
    /// What is unmapped and not invalidated yet.
    pub(super) queue: FlushQueue<P>,
}

/// Bus addresses and what they reach, for the devices attached.
pub(crate) struct Domain<P: Platform> {
    pub(super) platform: P,
    pub(super) id: DomainId,
    units: Units<P>,
    /// log2 of the smallest page of the table.
    page_size_log2: u32,
    /// Whether the table tells privileged requests from others.
    privileges: Privileges,
    /// The highest bus address the table can map.
    last: BusAddr,
    address_order: AddressOrder,
    /// Bit n: unit n walks the table. Read without the lock when invalidating.
    walkers: AtomicU64,
    /// Those of them that are to be told of mappings too.
    told: AtomicU64,
    /// Apart, as CPUs read what stands beside it at each map.
    pub(super) inner: Apart<lock_api::Mutex<P::Lock, Inner<P>>>,
    /// What of [`Inner::queue`]'s tickets can be known without the lock.
    pub(super) confirmed: Confirmed,
    /// Where CPUs map and unmap without the lock; `None` where the table has no entries to hold.
    lanes: Option<DomainLanes<P>>,
    /// What looks after the flush queue, once the domain is [shared](Self::into_shared).
    pub(super) timer: Option<InterruptHandler>,
    /// Where that comes by.
    pub(super) timers: Arc<TimerGate>,
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
        limits: FlushLimits,
    ) -> Result<Self, DomainError> {
        let last = table.aperture_last();
        let len = last.as_u64().saturating_add(1);
        let aperture = BusRange::new(BusAddr::new(0), len).expect("an aperture starts at 0");
        let page_size_log2 = table.page_size_log2();
        let privileges = table.privileges();
        let iova = match IovaSpace::new(platform, aperture, page_size_log2) {
            Ok(iova) => iova,
            Err(error) => {
                // SAFETY: the table was never given to a unit.
                unsafe { table.free() };
                return Err(error.into());
            }
        };
        let lanes = DomainLanes::new(platform, &iova, table.as_ref());
        let inner = Inner {
            unlinking: 0,
            unconfirmed: Unconfirmed::nothing(platform),
            recovering: false,
            iova,
            lender: Lender::new(platform),
            table: Some(table),
            owners: 0,
            ended: None,
            reach: Reach::Live,
            chooser: Chooser::Layer,
            queue: FlushQueue::new(platform, limits),
        };
        Ok(Self {
            platform,
            id,
            units,
            page_size_log2,
            privileges,
            last,
            address_order: AddressOrder::LowFirst,
            walkers: AtomicU64::new(0),
            told: AtomicU64::new(0),
            inner: Apart(lock_api::Mutex::new(inner)),
            confirmed: Confirmed::default(),
            lanes,
            timer: None,
            timers: Arc::default(),
        })
    }

    /// The same, whose mappings are given addresses in that order.
    pub(crate) fn with_address_order(mut self, order: AddressOrder) -> Self {
        self.address_order = order;
        self
    }

    /// Which addresses mappings are given first.
    pub(crate) fn address_order(&self) -> AddressOrder {
        self.address_order
    }

    /// All addresses that the table can record.
    pub(super) fn aperture(&self) -> BusRange {
        let len = self.last.as_u64().saturating_add(1);
        BusRange::new(BusAddr::new(0), len).expect("an aperture starts at 0")
    }

    /// log2 of the smallest page that can be mapped.
    pub(crate) fn page_size_log2(&self) -> u32 {
        self.page_size_log2
    }

    /// Whether mappings can be for privileged requests alone.
    pub(crate) fn privileges(&self) -> Privileges {
        self.privileges
    }

    /// The highest bus address that can be mapped, were it not for masks.
    pub(crate) fn last(&self) -> BusAddr {
        self.last
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
        self.with_blocks_back(Recall::Addresses(range), |inner| {
            inner.iova.reserve(range)?;
            let table = inner.table.as_mut().ok_or(DomainError::Revoked)?;
            let mut list = Replay::new(core::iter::once(memory));
            Ok(table.map_list(bus, &mut list, permission.into())?)
        })
    }

    /// Keeps `range` from ever being chosen.
    pub(crate) fn reserve(&self, range: BusRange) -> Result<(), DomainError> {
        self.with_blocks_back(Recall::Addresses(range), |inner| {
            Ok(inner.iova.reserve(range)?)
        })
    }

    /// Chooses bus addresses for `memory` as `request` says and records them.
    ///
    /// # Errors
    /// [`DomainError`]; but for [`DomainError::Unconfirmed`] nothing is mapped then.
    pub(crate) fn map_list(
        &self,
        request: IovaRequest,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<BusRange, DomainError> {
        let mapped = match self.map_in_lane(request, memory, grant) {
            Some(range) => Ok((range, Linked::OnKeptTables)),
            None => self.map_locked(Chooser::Layer, request, memory, grant),
        };
        self.show(mapped?)
    }

    fn map_locked(
        &self,
        chooser: Chooser,
        request: IovaRequest,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<(BusRange, Linked), DomainError> {
        self.choose_locked(|inner| {
            let Inner {
                unlinking,
                iova,
                table: Some(table),
                reach: Reach::Live,
                chooser: now,
                ..
            } = inner
            else {
                return Err(DomainError::Revoked);
            };
            if *now != chooser {
                return Err(DomainError::HandedOver);
            }
            let range = iova.allocate(request)?;
            if let Err(error) = table.map_list(range.start(), memory, grant) {
                // A table that refuses has written nothing, so no unit can have seen these addresses.
                iova.free(range).expect("the range was just allocated");
                return Err(error.into());
            }
            let how = match *unlinking {
                0 => Linked::OnKeptTables,
                _ => Linked::WhileUnlinking,
            };
            Ok((range, how))
        })
    }

    /// Tells the units of what was just mapped, and undoes it where they do not answer.
    #[inline]
    fn show(&self, (range, how): (BusRange, Linked)) -> Result<BusRange, DomainError> {
        match self.make_visible(range, how) {
            Ok(()) => Ok(range),
            Err(cause) => match self.unmap(range) {
                Ok(()) => Err(cause.into()),
                Err(undo) => Err(DomainError::Unconfirmed { cause, undo }),
            },
        }
    }

    /// As [`map_list`](Self::map_list), at `bus`, for whom the domain was [handed over](Self::hand_over) to.
    pub(crate) fn map_at(
        &self,
        bus: BusAddr,
        len_bytes: u64,
        memory: &mut dyn PhysList,
        permission: Permission,
    ) -> Result<(), DomainError> {
        // Only one address below 2^63 is that modulo 2^63, and beyond its end nothing is looked at.
        let last = bus.as_u64().saturating_add(len_bytes.saturating_sub(1));
        let request = IovaRequest::new(len_bytes)
            .aligned(63, bus.as_u64())
            .from(bus)
            .below(BusAddr::new(last));
        let mapped = self.map_locked(Chooser::Owner, request, memory, permission.into())?;
        self.show(mapped).map(|_| ())
    }

    /// As [`unmap`](Self::unmap), of what may not be mapped, or not as one range.
    ///
    /// # Errors
    /// [`DomainError::Iova`] then; [`DomainError::Revoke`] as [`unmap`](Self::unmap).
    pub(crate) fn unmap_at(&self, range: BusRange) -> Result<(), DomainError> {
        self.unmap(range).map_err(|error| match error {
            RevokeError::NotMapped => IovaError::NotAllocated { range }.into(),
            RevokeError::NotWhole { mapping } => IovaError::PartialFree {
                range,
                allocated: mapping,
            }
            .into(),
            error => error.into(),
        })
    }

    /// Lets nobody choose bus addresses any more but [`map_at`](Self::map_at): no mapping that was retired is made again,
    /// of whichever device.
    ///
    /// # Errors
    /// How many ranges are mapped, reserved to be, or wait for their flush, and how many lanes have owners. Nothing has changed then.
    pub(crate) fn hand_over(&self) -> Result<(), u64> {
        self.with_blocks_back(Recall::KeepingFrames, |inner| {
            let mapped = inner.iova.statistics().live_allocations;
            match mapped + inner.owners as u64 {
                0 => {
                    inner.chooser = Chooser::Owner;
                    Ok(())
                }
                live => Err(live),
            }
        })
    }

    /// Makes `range` unreachable, and returns when it is.
    ///
    /// # Errors
    /// [`RevokeError`] when that was not confirmed: the device may still reach the memory, so neither the
    /// memory nor the addresses nor the emptied tables are used again before [`recover`](Self::recover). What is not one
    /// mapping, whole, is refused before anything changes.
    pub(crate) fn unmap(&self, range: BusRange) -> Result<(), RevokeError> {
        let Some(gather) = self.clear(|inner, gather| self.clear_locked(inner, range, gather))?
        else {
            return Ok(());
        };
        // Not under the lock: the wait is on hardware, and other CPUs map and unmap meanwhile. The
        // addresses stay taken until it is over.
        if let Err((error, unconfirmed)) = self.sync(gather) {
            return Ok(self.keep(Some(range), unconfirmed, error)?);
        }
        // SAFETY: its entries were there, and this call cleared them: whoever had the range has given it up.
        unsafe { self.free(range) };
        Ok(())
    }

    /// Clears entries as `how` does, for whoever then invalidates. `None` where the domain has ended, and with it every
    /// mapping.
    fn clear(
        &self,
        how: impl FnOnce(&mut Inner<P>, &mut Gather<P>) -> Result<(), RevokeError>,
    ) -> Result<Option<Gather<P>>, RevokeError> {
        let mut gather = Gather::new(self.platform);
        let mut inner = self.inner.lock();
        match inner.reach {
            Reach::Live => {}
            Reach::Revoked => return Ok(None),
            Reach::Unconfirmed => return Err(RevokeError::DetachUnconfirmed),
        }
        how(&mut inner, &mut gather)?;
        inner.note_unlinking(&gather);
        Ok(Some(gather))
    }

    /// Z → Y: what a device that uses `bus` reaches (`iommu_iova_to_phys`), and what it may do there.
    pub(crate) fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        self.inner.lock().table.as_ref()?.lookup(bus)
    }

    /// Frames the domain holds: its table's and its allocator's.
    pub(crate) fn frames(&self) -> usize {
        let inner = self.inner.lock();
        let table = inner.table.as_ref().map_or(0, |table| table.frames());
        table + inner.iova.frames() + inner.queue.frames() + self.lane_frames(&inner)
    }

    /// Gives back frames that hold nothing: empty tables that were kept to keep walk caches warm.
    ///
    /// # Errors
    /// [`UnitError`] when the invalidation was not confirmed; the tables are kept then.
    pub(crate) fn reclaim(&self) -> Result<(), UnitError> {
        // What waits holds addresses, and tables. Where the flush fails these stay, and what is left is reclaimed.
        self.settle();
        self.with_blocks_back(Recall::WithFrames, |_| ());
        let mut gather = Gather::new(self.platform);
        {
            let mut inner = self.inner.lock();
            inner.queue.reclaim();
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

/// Whether `range` is one mapping, whole.
fn whole<P: Platform>(iova: &mut IovaSpace<P>, range: BusRange) -> Result<(), RevokeError> {
    iova.check(range).map_err(|error| match error {
        IovaError::PartialFree { allocated, .. } => RevokeError::NotWhole { mapping: allocated },
        _ => RevokeError::NotMapped,
    })
}

impl<P: Platform> Inner<P> {
    /// Lets `range`, which was chosen from the space itself, be chosen again, unless the domain has ended.
    fn free(&mut self, range: BusRange) {
        if self.reach == Reach::Live {
            let freed = self.iova.free(range);
            freed.expect("a range is freed once, as it was allocated");
        }
    }

    /// From now until [`Domain::sync`] of `gather` has succeeded, maps must invalidate too.
    pub(super) fn note_unlinking(&mut self, gather: &Gather<P>) {
        if gather.tables() == TableChange::Unlinked {
            self.unlinking += 1;
        }
    }
}

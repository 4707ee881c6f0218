//! A domain's record of Z → Y: what the unit is told by requests, kept where lookups and replays find it.
//!
//! The unit never reads it, so tables that go are free at once. Its root's address serves as its name.
//!
//! # What the unit was told
//! A leaf is marked when a MAP of it is handed to the unit, in the same turn of the record's lock; and a MAP is made of
//! leaves without the mark alone. So whoever comes first of a mapper and a replay tells the unit, and the other one does
//! not: a unit refuses what overlaps a mapping. Marks go when the unit
//! has forgotten: when it is reset, before the replay, while nobody else may ask it anything; and when a domain gets its first
//! endpoint, as it went with its last. A leaf that is cleared takes its mark along.
//!
//! # Whether the unit has the domain
//! It has from the first endpoint's ATTACH to the last one's DETACH, and both are handed over in a turn of the record's lock as
//! well: so no MAP or UNMAP comes after a DETACH that ends the domain, whose number may be another's by then. Whoever has
//! unmapped meanwhile waits until that DETACH was answered: until then the endpoint may reach the memory.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use super::record_format::RecordFormat;
use crate::addr::{BusAddr, BusRange, PhysAddr};
use crate::iommu::translation::{Translate, Translation};
use crate::pagetable::{
    Gather, Grant, Leaf, MapError, PageTable, Permission, PhysList, Privileges, TableChange,
    UnmapError,
};
use crate::platform::{OutOfFrames, Platform};

/// A domain's record.
pub(super) struct Record<P: Platform> {
    root: PhysAddr,
    kept: lock_api::Mutex<P::Lock, Kept<P>>,
}

struct Kept<P: Platform> {
    /// `None` once the domain has ended.
    table: Option<PageTable<P, RecordFormat>>,
    presence: Presence,
}

/// Whether the unit has the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It has not: nobody reaches anything.
    Absent,
    /// It has, or was asked to.
    Present,
    /// The DETACH that ends the domain was handed over, and not answered yet.
    Leaving,
}

impl Presence {
    /// Lets `ask` hand requests about the domain over. `Some(None)` where the unit has no such domain, `None` where that is not
    /// known, or `ask` says so: then it is to be tried again.
    fn ask<T>(self, ask: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Leaving => None,
            Self::Present => ask().map(Some),
        }
    }
}

/// What a [`Translate::Table`] of this kind of unit names.
pub(super) struct Records<P: Platform> {
    records: lock_api::Mutex<P::Lock, Vec<Weak<Record<P>>>>,
}

/// A run of addresses that one request maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    /// Inclusive.
    pub(super) last: u64,
    pub(super) phys: PhysAddr,
    pub(super) permission: Permission,
}

/// What may become one request. UNMAP takes whole requests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// Neighbours in memory: for addresses that are mapped, and so will be unmapped, at once.
    Neighbours,
    /// A leaf alone: for addresses of which nobody knows how they will be unmapped.
    Leaves,
}

impl<P: Platform> Records<P> {
    pub(super) fn new() -> Self {
        Self {
            records: lock_api::Mutex::new(Vec::new()),
        }
    }

    /// A record with nothing mapped.
    pub(super) fn create(
        &self,
        platform: P,
        format: RecordFormat,
    ) -> Result<Box<RecordTable<P>>, OutOfFrames> {
        let table = PageTable::new(platform, format)?;
        let last = table.aperture_last();
        let record = Arc::new(Record {
            root: table.root_phys(),
            kept: lock_api::Mutex::new(Kept {
                table: Some(table),
                presence: Presence::Absent,
            }),
        });
        let mut records = self.records.lock();
        records.retain(|known| known.strong_count() > 0);
        records.push(Arc::downgrade(&record));
        drop(records);
        Ok(Box::new(RecordTable {
            platform,
            levels: format.geometry.levels() as u8,
            last,
            page_size_log2: format.geometry.granule().size_log2(),
            record,
        }))
    }

    /// The record whose root is at `root`.
    pub(super) fn find(&self, root: PhysAddr) -> Option<Arc<Record<P>>> {
        let records = self.records.lock();
        let mut live = records.iter().filter_map(Weak::upgrade);
        live.find(|record| record.root == root)
    }
}

impl<P: Platform> Record<P> {
    /// Hands a request that brings an endpoint into the domain to the unit, by `hand_over`, if it returns `Some`.
    pub(super) fn enter<T>(&self, hand_over: impl FnOnce() -> Option<T>) -> Option<T> {
        self.hand_over(Presence::Present, hand_over)
    }

    /// As [`enter`](Self::enter), for the request by which the last endpoint leaves. What comes of it
    /// [`left`](Self::left) or [`stayed`](Self::stayed) says.
    pub(super) fn leave<T>(&self, hand_over: impl FnOnce() -> Option<T>) -> Option<T> {
        self.hand_over(Presence::Leaving, hand_over)
    }

    /// In one turn: the request goes, and the domain is for the unit what it is then.
    fn hand_over<T>(&self, then: Presence, hand_over: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut kept = self.kept.lock();
        let handed_over = hand_over()?;
        kept.presence = then;
        Some(handed_over)
    }

    /// The unit has confirmed that the domain has no endpoint.
    pub(super) fn left(&self) {
        self.kept.lock().presence = Presence::Absent;
    }

    /// It has not, and may not do so: it is asked of the domain as before.
    pub(super) fn stayed(&self) {
        let mut kept = self.kept.lock();
        if kept.presence == Presence::Leaving {
            kept.presence = Presence::Present;
        }
    }

    /// Lets `act` go through the runs that are mapped at any address from `first` to `last`, whole, and hand requests over, if it
    /// returns `Some`. Nobody changes the record meanwhile. What is returned, [`Presence::ask`] says.
    pub(super) fn with_mapped<T>(
        &self,
        range: (u64, u64),
        act: impl FnOnce(&mut dyn Iterator<Item = Run>) -> Option<T>,
    ) -> Option<Option<T>> {
        let kept = self.kept.lock();
        let joining = Joining::Neighbours;
        kept.presence
            .ask(|| act(&mut runs(kept.table.as_ref(), range, joining, |_| true)))
    }

    /// As [`with_mapped`](Self::with_mapped), with those that the unit was not told of: where `act` hands it requests for them
    /// it returns `Some`, with the address behind the last if it did not come to the end, and they count as told.
    pub(super) fn with_untold<T>(
        &self,
        range: (u64, u64),
        joining: Joining,
        act: impl FnOnce(&mut dyn Iterator<Item = Run>) -> Option<(T, Option<u64>)>,
    ) -> Option<Option<(T, Option<u64>)>> {
        let Kept { table, presence } = &mut *self.kept.lock();
        presence.ask(|| {
            let is_untold = |word| !RecordFormat::is_told(word);
            let handed_over = act(&mut runs(table.as_ref(), range, joining, is_untold))?;
            if let Some(table) = table {
                let last = handed_over.1.map_or(range.1, |after| after - 1);
                let all = (BusAddr::new(range.0), BusAddr::new(last));
                table.rewrite_leaves(all, usize::MAX, RecordFormat::told);
            }
            Some(handed_over)
        })
    }

    /// What is mapped at any address from `first` to `last` counts as not told, if `is_so` says that the unit did not forget
    /// meanwhile: then whoever let it forget has seen to that.
    pub(super) fn forget_if(&self, (first, last): (u64, u64), is_so: impl FnOnce() -> bool) {
        let mut kept = self.kept.lock();
        if let Some(table) = kept.table.as_mut()
            && is_so()
        {
            let all = (BusAddr::new(first), BusAddr::new(last));
            table.rewrite_leaves(all, usize::MAX, RecordFormat::untold);
        }
    }

    /// The unit has forgotten all, and nobody tells it anything before this returns.
    pub(super) fn forget_told(&self) {
        let last = BusAddr::new(u64::MAX);
        let mut next = Some(BusAddr::new(0));
        while let Some(first) = next {
            // In stretches: others look things up meanwhile.
            let mut kept = self.kept.lock();
            next = kept.table.as_mut().and_then(|table| {
                table.rewrite_leaves((first, last), LEAVES_AT_ONCE, RecordFormat::untold)
            });
        }
    }
}

/// Leaves whose marks are taken in one turn of the lock.
const LEAVES_AT_ONCE: usize = 512;

/// The runs of `table` at any address from `first` to `last`, whole, of the leaves whose words are `wanted`.
fn runs<P: Platform>(
    table: Option<&PageTable<P, RecordFormat>>,
    (first, last): (u64, u64),
    joining: Joining,
    wanted: impl Fn(u64) -> bool,
) -> impl Iterator<Item = Run> {
    let mut at = Some(first);
    let leaves = core::iter::from_fn(move || {
        loop {
            let (leaf, word) = table?.next_leaf((BusAddr::new(at?), BusAddr::new(last)))?;
            at = leaf.bus.last().as_u64().checked_add(1);
            if wanted(word) {
                return Some(run_of(leaf));
            }
        }
    });
    let mut leaves = leaves.fuse().peekable();
    core::iter::from_fn(move || {
        let mut run = leaves.next()?;
        while joining == Joining::Neighbours
            && let Some(next) = leaves.next_if(|next| continues(&run, next))
        {
            run.last = next.last;
        }
        Some(run)
    })
}

fn run_of(leaf: Leaf) -> Run {
    Run {
        first: leaf.bus.start().as_u64(),
        last: leaf.bus.last().as_u64(),
        phys: leaf.phys,
        permission: leaf.permission,
    }
}

fn continues(run: &Run, leaf: &Run) -> bool {
    let len_bytes = leaf.first.wrapping_sub(run.first);
    run.last.checked_add(1) == Some(leaf.first)
        && run.phys.checked_add(len_bytes) == Some(leaf.phys)
        && run.permission == leaf.permission
}

/// A record in the hands of its domain.
pub(super) struct RecordTable<P: Platform> {
    platform: P,
    levels: u8,
    last: BusAddr,
    page_size_log2: u32,
    record: Arc<Record<P>>,
}

impl<P: Platform> RecordTable<P> {
    fn with<T>(&self, act: impl FnOnce(&mut PageTable<P, RecordFormat>) -> T) -> T {
        let mut kept = self.record.kept.lock();
        act(kept.table.as_mut().expect("only `free` takes it"))
    }

    /// Runs `act` on the table with a gather of its own, whose tables go at once.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut PageTable<P, RecordFormat>, &mut Gather<P>) -> T,
    ) -> T {
        let mut own = Gather::new(self.platform);
        let outcome = self.with(|table| act(table, &mut own));
        // SAFETY: no unit walks the tables, and the CPU does under the record's lock alone.
        unsafe { own.release() };
        outcome
    }
}

impl<P: Platform> Translation<P> for RecordTable<P> {
    fn root(&self) -> Translate {
        Translate::Table {
            root: self.record.root,
            levels: self.levels,
        }
    }

    fn aperture_last(&self) -> BusAddr {
        self.last
    }

    fn page_size_log2(&self) -> u32 {
        self.page_size_log2
    }

    fn privileges(&self) -> Privileges {
        Privileges::NotTold
    }

    fn map_list(
        &mut self,
        bus: BusAddr,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<(), MapError> {
        // The unit is told no more: what is behind an address it knows itself, and it knows no privileges.
        self.with(|table| table.map_list(bus, memory, grant.permission))
    }

    fn unmap(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError> {
        self.change(|table, own| table.unmap(range, own))?;
        if !range.is_empty() {
            gather.add_leaves(range.start().as_u64(), range.len_bytes());
        }
        debug_assert_eq!(gather.tables(), TableChange::Kept);
        Ok(())
    }

    fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        self.with(|table| {
            table
                .lookup(bus)
                .map(|target| (target.phys, target.permission))
        })
    }

    fn frames(&self) -> usize {
        self.with(|table| table.frames())
    }

    fn reclaim(&mut self, _gather: &mut Gather<P>) {
        self.change(|table, own| table.reclaim(own));
    }

    unsafe fn free(self: Box<Self>) {
        if let Some(table) = self.record.kept.lock().table.take() {
            // SAFETY: the caller says that the unit knows nothing of it any more; and it never walked it.
            unsafe { table.free() };
        }
    }
}

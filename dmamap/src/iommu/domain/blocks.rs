//! Blocks of bus addresses that lanes are lent, and that come back.
//!
//! A lane asks for one when it has no room, and parts with one that nothing is left in. All come back, with what is mapped in
//! them, before somebody looks at the whole domain. Whoever takes one back lets go of its entries, which may leave tables
//! empty: what is to be invalidated for these is done when the lock is left.

use super::lanes::{DomainLanes, table_level};
use super::{Chooser, Domain, DomainError, Inner, Reach};
use crate::addr::BusAddr;
use crate::iommu::flush_queue::FlushQueue;
use crate::iommu::translation::Translation;
use crate::iova::lanes::{LaneRequest, Lender, Lending, Level, Parted, Recall};
use crate::iova::{IovaError, IovaSpace};
use crate::pagetable::{Gather, TableChange};
use crate::platform::Platform;

/// What it takes to lend a block.
pub(super) struct Lendable<'a, P: Platform> {
    pub(super) iova: &'a mut IovaSpace<P>,
    pub(super) lender: &'a mut Lender<P>,
    pub(super) table: &'a mut dyn Translation<P>,
    pub(super) queue: &'a mut FlushQueue<P>,
}

impl<P: Platform> Inner<P> {
    /// `None` where no lane may be lent a block now. While a table is being unlinked, mappings are to invalidate for themselves, which
    /// lanes do not.
    pub(super) fn lendable(&mut self) -> Option<Lendable<'_, P>> {
        match self {
            Self {
                unlinking: 0,
                iova,
                lender,
                table: Some(table),
                reach: Reach::Live,
                chooser: Chooser::Layer,
                queue,
                ..
            } => Some(Lendable {
                iova,
                lender,
                table: table.as_mut(),
                queue,
            }),
            _ => None,
        }
    }
}

impl<P: Platform> Domain<P> {
    /// Lends this CPU's lane a block; whether it has one.
    #[cold]
    pub(super) fn lend(&self, request: &LaneRequest<'_>) -> bool {
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return false;
        };
        let mut emptied = Gather::new(self.platform);
        let lending = {
            let mut inner = self.inner.lock();
            let Some(Lendable {
                iova,
                lender,
                table,
                ..
            }) = inner.lendable()
            else {
                return false;
            };
            let mut is_held = true;
            let lending = lanes.lend(lender, iova, request, |granule| {
                let bus = BusAddr::new(granule << self.page_size_log2);
                let entries = table.hold(bus, table_level(request.level));
                is_held = entries.is_some();
                entries.map(Some)
            });
            if !is_held && request.level == Level::Blocks {
                // An empty table may stand in the way, which is gone when a block is asked for next.
                table.reclaim(&mut emptied);
                inner.note_unlinking(&emptied);
            }
            lending
        };
        self.finish(emptied);
        match lending {
            Lending::Lent => true,
            Lending::Refused => false,
            Lending::Unused(block) => {
                self.take_back(block);
                false
            }
        }
    }

    /// The domain has a block again that a lane has no use for.
    #[cold]
    pub(super) fn take_back(&self, block: Parted) {
        let mut gather = Gather::new(self.platform);
        let mut inner = self.inner.lock();
        self.take_back_locked(&mut inner, block, &mut gather);
        inner.note_unlinking(&gather);
        drop(inner);
        self.finish(gather);
    }

    /// The same; `emptied` takes what is to be invalidated then, of all blocks that it is told of.
    #[cold]
    pub(super) fn take_back_gathering(&self, block: Parted, emptied: &mut Gather<P>) {
        let mut inner = self.inner.lock();
        let before = emptied.tables();
        self.take_back_locked(&mut inner, block, emptied);
        if before == TableChange::Kept {
            // Once for all of them.
            inner.note_unlinking(emptied);
        }
    }

    /// The same with the lock; `gather` takes what is to be invalidated then.
    pub(super) fn take_back_locked(
        &self,
        inner: &mut Inner<P>,
        block: Parted,
        gather: &mut Gather<P>,
    ) {
        let (
            Some(DomainLanes { lanes, .. }),
            Inner {
                iova,
                lender,
                table: Some(table),
                reach: Reach::Live,
                ..
            },
        ) = (&self.lanes, inner)
        else {
            // The domain has ended.
            return;
        };
        lanes.take_back(lender, iova, block, |level, granule| {
            let bus = BusAddr::new(granule << self.page_size_log2);
            table.let_go(bus, table_level(level), gather);
        });
    }

    /// The domain has all blocks again that `recall` is about, with what is mapped in them. Returns what is to be invalidated then.
    pub(in crate::iommu) fn recall(&self, inner: &mut Inner<P>, recall: Recall) -> Gather<P> {
        self.recall_and_tell(inner, recall).0
    }

    /// As [`recall`](Self::recall); also how many bytes the longest run has that a lane kept.
    fn recall_and_tell(&self, inner: &mut Inner<P>, recall: Recall) -> (Gather<P>, u64) {
        let mut gather = Gather::new(self.platform);
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return (gather, 0);
        };
        let is_about_frames = matches!(recall, Recall::WithFrames | Recall::ForGood);
        if !is_about_frames && !inner.lender.has_lent() {
            return (gather, 0);
        }
        let Inner {
            iova,
            lender,
            table,
            queue,
            ..
        } = inner;
        let let_go = |level: Level, granule: u64| {
            if let Some(table) = table {
                let bus = BusAddr::new(granule << self.page_size_log2);
                table.let_go(bus, table_level(level), &mut gather);
            }
        };
        // SAFETY: the lock is held, and nobody is within a lane who takes it.
        let widest =
            unsafe { lanes.recall(lender, iova, recall, |stage| queue.take_in(stage), let_go) };
        inner.note_unlinking(&gather);
        (gather, widest << self.page_size_log2)
    }

    /// Calls `f` with the lock and all blocks back that `recall` is about: none is lent again before it is over.
    pub(super) fn with_blocks_back<T>(
        &self,
        recall: Recall,
        f: impl FnOnce(&mut Inner<P>) -> T,
    ) -> T {
        let mut inner = self.inner.lock();
        let emptied = self.recall(&mut inner, recall);
        let done = f(&mut inner);
        drop(inner);
        self.finish(emptied);
        done
    }

    /// Calls `choose`, which chooses bus addresses, with the lock; where there are none, once more with all blocks back in which
    /// there may be some, of which none is lent again between.
    pub(super) fn choose_locked<T>(
        &self,
        mut choose: impl FnMut(&mut Inner<P>) -> Result<T, DomainError>,
    ) -> Result<T, DomainError> {
        let mut inner = self.inner.lock();
        let chosen = choose(&mut inner);
        let request = match chosen {
            // Lanes may hold what it needs.
            Err(DomainError::Iova(IovaError::IovaExhausted { request, .. }))
                if inner.lender.has_lent() =>
            {
                request
            }
            chosen => return chosen,
        };
        let (emptied, widest) = self.recall_and_tell(&mut inner, Recall::Room(request));
        let chosen = choose(&mut inner);
        drop(inner);
        self.finish(emptied);
        chosen.map_err(|error| match error {
            DomainError::Iova(error) => error.beside_gap(widest).into(),
            error => error,
        })
    }

    /// Has the units forget tables that lanes had no use for any more.
    pub(in crate::iommu) fn finish(&self, gather: Gather<P>) {
        if let Err((error, unconfirmed)) = self.sync(gather)
            && let Err(error) = self.keep(None, unconfirmed, error)
        {
            log::error!("an emptied table was not confirmed to be out of use: {error}");
        }
    }

    /// Frames that lanes hold.
    pub(super) fn lane_frames(&self, inner: &Inner<P>) -> usize {
        let lanes = self.lanes.as_ref().map(|all| &all.lanes);
        lanes.map_or(0, |lanes| lanes.frames(&inner.lender))
    }
}

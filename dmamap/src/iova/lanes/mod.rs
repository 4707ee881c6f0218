//! A lane for each CPU: bus addresses chosen without the lock of the space they come from.
//!
//! Blocks of 512 granules are lent out of an [`IovaSpace`], which then counts all of them as in use, to single CPUs. A CPU
//! begins and ends ranges in its blocks by plain stores (`lane.rs`), alone as it is with them ([`PerCpu`]). Which block an
//! address is in everybody finds (`directory.rs`); who frees a range of another CPU's leaves a bit in it (`lent.rs`).
//!
//! Each CPU has two lanes, of blocks of granules and of large blocks, as the space has: 512 units, each as large as a block of granules
//! (2 MiB, of granules of 4 KiB). How long a range is says which it comes from.
//!
//! What a lane does not serve goes the way of the space itself: longer ranges, limits that its blocks are not within, spaces
//! that are not divided. What is seldom asked and about the whole space comes after all blocks were called
//! [back](Lanes::recall): what is reserved, kept or counted, and a last look for room.
//!
//! A block comes with the entries of a page table for its units, where there is one: they are looked up once, when it is lent,
//! and whoever has a range writes its entries without a walk.

mod at_hand;
mod directory;
mod free_many;
#[cfg(test)]
mod interleaved;
mod lane;
mod lender;
mod lent;
mod owned;
mod range;
mod recall;
mod request;
mod word;

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

pub(crate) use super::block::Level;
use super::divided::Bounds;
use super::search::Fit;
use super::units::{Marks, UNITS};
use super::{IovaRequest, IovaSpace};
use crate::addr::BusAddr;
use crate::percpu::PerCpu;
use crate::platform::{Cpu, Platform};
use crate::slab::Handle;
use crate::sync;
pub(crate) use at_hand::AtHand;
use directory::Directory;
pub(crate) use free_many::Stopped;
use lane::{Lane, NotChosen};
pub(crate) use lender::Lender;
pub(crate) use lent::Leaves;
use lent::LentBlock;
pub(crate) use owned::{ANYWHERE, Ended, OwnedLane};
pub(crate) use range::LentRange;
pub(crate) use recall::Recall;
pub(crate) use request::{LaneRequest, large_size, level_of};

/// The most granules of a range in a lent block of granules, and the most units in a large one.
pub(crate) const MOST: u64 = UNITS as u64 / 2;

/// The lanes of a space. `S` is what else each CPU keeps for itself.
pub(crate) struct Lanes<P: Platform, S> {
    cpus: PerCpu<P, Seat<S>>,
    /// By level, as the lanes of a seat.
    directories: [Directory<P>; 2],
    bounds: Bounds,
    granule_log2: u32,
}

/// What a CPU has for itself.
struct Seat<S> {
    lanes: [Lane; 2],
    beside: S,
}

impl<S> Seat<S> {
    #[inline]
    fn lane(&mut self, level: Level) -> &mut Lane {
        &mut self.lanes[level as usize]
    }
}

/// Why no lane chose a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// This CPU's has no room: [lend](Lanes::lend) it a block.
    NoRoom,
    /// The space is to be asked.
    Elsewhere,
}

/// What became of a range that was to be freed.
pub(crate) enum Freed {
    /// It is free.
    Done,
    /// It is, and nothing is left in its block, which is to be [taken back](Lanes::take_back).
    Unused(Parted),
    /// It is not one of a lane, as far as this CPU can tell now: the space is to be asked.
    Elsewhere,
}

/// What became of a block that was to be lent.
pub(crate) enum Lending {
    /// This CPU's lane has it.
    Lent,
    /// There is none, or no memory for it.
    Refused,
    /// This CPU's lane is not to be had: the block is to be [taken back](Lanes::take_back).
    Unused(Parted),
}

/// A block that no lane has, and in which nothing is in use.
pub(crate) struct Parted(NonNull<LentBlock>);

// SAFETY: it stands for the block alone.
unsafe impl Send for Parted {}

impl<P: Platform, S: Default> Lanes<P, S> {
    /// Of `space`, before anybody chose from it.
    pub(crate) fn new(platform: P, space: &IovaSpace<P>) -> Self {
        Self {
            cpus: PerCpu::new(platform, |_| Seat {
                lanes: Default::default(),
                beside: S::default(),
            }),
            directories: Level::ALL
                .map(|level| Directory::new(platform, level, space.divided.bounds.end)),
            bounds: space.divided.bounds,
            granule_log2: space.granule_log2,
        }
    }

    #[inline]
    pub(crate) fn granule_log2(&self) -> u32 {
        self.granule_log2
    }

    /// Frames that are held for blocks that are lent.
    pub(crate) fn frames(&self, lender: &Lender<P>) -> usize {
        let directories = self.directories.each_ref().map(Directory::frames);
        directories.iter().sum::<usize>() + lender.frames()
    }

    #[inline]
    fn directory(&self, level: Level) -> &Directory<P> {
        &self.directories[level as usize]
    }

    /// Begins a range in this CPU's lane and calls `begin` with its first granule and the entries for all of its units, which stay
    /// what they are until the range is freed.
    #[inline]
    pub(crate) fn choose<R>(
        &self,
        request: &LaneRequest<'_>,
        begin: impl FnOnce(u64, &[AtomicU64]) -> R,
    ) -> Result<R, NoChoice> {
        let level = request.level;
        let chosen = self.cpus.with(|_, seat| {
            let (unit, block) = seat.lane(level).choose(request)?;
            if level == Level::Blocks {
                block.set_tail(unit, request.tail);
            }
            let entries = block.entries(unit, request.units);
            Ok(begin(unit << level.unit_log2(), entries))
        });
        match chosen {
            Some(Ok(done)) => Ok(done),
            Some(Err(NotChosen::NoRoom)) if self.may_lend(request) => Err(NoChoice::NoRoom),
            Some(Err(_)) | None => Err(NoChoice::Elsewhere),
        }
    }

    /// Calls `f` with what is at hand of this CPU's lane of a level: a range is begun and ended there as [`choose`](Self::choose) and
    /// [`free`](Self::free) do it, in less steps. `None` where that is not to be had now.
    #[inline(always)]
    pub(crate) fn at_hand<R>(
        &self,
        level: Level,
        f: impl FnOnce(&mut AtHand) -> Option<R>,
    ) -> Option<R> {
        self.cpus.try_with(|_, seat| f(seat.lane(level).hot()?))
    }

    /// Begins a range of one granule in the word at hand of this CPU's lane, where that has room, entries, and lies within `limits`,
    /// inclusive. Calls `write` with its entry; where that says no the range ends again.
    #[inline]
    pub(crate) fn choose_one(
        &self,
        limits: (BusAddr, BusAddr),
        write: impl FnOnce(&AtomicU64) -> bool,
    ) -> Option<BusAddr> {
        self.at_hand(Level::Granules, |hot| {
            hot.begin_one_if(limits, self.granule_log2, write)
        })
    }

    /// Begins a range of so many granules in the word at hand of this CPU's lane, where it is for no more than a word has, and that has
    /// room, entries, and lies within `limits`, inclusive. Calls `write` with where it begins and with its entries.
    #[inline]
    pub(crate) fn choose_few(
        &self,
        limits: (BusAddr, BusAddr),
        granules: usize,
        write: impl FnOnce(BusAddr, &[AtomicU64]),
    ) -> Option<BusAddr> {
        self.at_hand(Level::Granules, |hot| {
            hot.begin_with(granules, limits, self.granule_log2, write)
        })
    }

    /// Calls `f` with the entries of a range of so many granules, at least one, which is whole in a word of the block that was chosen from
    /// last, and with what this CPU has beside its lane; `None` elsewhere.
    ///
    /// # Safety
    /// The caller has a range of the space that begins there.
    #[inline(always)]
    pub(crate) unsafe fn look_at_few<R>(
        &self,
        granule: u64,
        granules: usize,
        f: impl FnOnce(&[AtomicU64], &mut S) -> R,
    ) -> Option<R> {
        self.cpus.try_with(|_, Seat { lanes, beside }| {
            let hot = lanes[Level::Granules as usize].hot_with(granule)?;
            let entries = hot.entries(granule, granules);
            let is_here = !entries.is_empty() && hot.is_range(granule, granules);
            is_here.then(|| f(entries, beside))
        })
    }

    /// Whether any block there may be is for such requests.
    #[cold]
    pub(crate) fn may_lend(&self, request: &LaneRequest<'_>) -> bool {
        let fit = Fit::of(*request.request, request.granule_log2);
        fit.is_ok_and(|fit| self.bounds.serve(&fit))
    }

    /// Calls `f` with the range that begins with this granule, and with what this CPU has beside its lane; `None` where it is not
    /// in a lent block of that level, as far as this CPU can tell now.
    ///
    /// # Safety
    /// The caller has a range of the space that begins there.
    #[inline]
    pub(crate) unsafe fn look<R>(
        &self,
        (level, granule): (Level, u64),
        f: impl FnOnce(LentRange<'_>, &mut S) -> R,
    ) -> Option<R> {
        let unit = granule >> level.unit_log2();
        self.cpus.try_with(|_, Seat { lanes, beside }| {
            let block = match lanes[level as usize].hot_with(unit) {
                Some(hot) => hot,
                // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
                None => unsafe { self.directory(level).get(granule)?.as_ref() },
            };
            Some(f(LentRange { block, unit }, beside))
        })
    }

    /// The range that begins with this granule, under the lock; `None` where it is not in a lent block.
    pub(crate) fn look_locked<'a>(
        &self,
        _lock: &'a Lender<P>,
        granule: u64,
    ) -> Option<LentRange<'a>> {
        Level::ALL.into_iter().find_map(|level| {
            // SAFETY: blocks are taken back under the lock, so what is found stays.
            let block = unsafe { self.directory(level).get(granule)?.as_ref() };
            let unit = granule >> level.unit_log2();
            // Ranges begin where units do.
            (unit << level.unit_log2() == granule).then_some(LentRange { block, unit })
        })
    }

    /// Calls `f` with what this CPU has beside its lane; `None` where that is not to be had now.
    pub(crate) fn beside<R>(&self, f: impl FnOnce(&mut S) -> R) -> Option<R> {
        self.cpus.with(|_, Seat { beside, .. }| f(beside))
    }

    /// Calls `f` with what each CPU has beside its lane.
    ///
    /// # Safety
    /// As [`recall`](Self::recall).
    pub(crate) unsafe fn each_beside(&self, mut f: impl FnMut(&mut S)) {
        // SAFETY: one at a time has the lock.
        let mut stopped = unsafe { self.cpus.stop() };
        stopped.each().for_each(|seat| f(&mut seat.beside));
    }

    /// Frees a range of so many units, which blocks of that level serve.
    ///
    /// # Safety
    /// The caller has the range, whole, and gives it up.
    #[inline]
    pub(crate) unsafe fn free(&self, (level, granule): (Level, u64), units: usize) -> Freed {
        let unit = granule >> level.unit_log2();
        let freed = self.cpus.with(|cpu, seat| {
            let lane = seat.lane(level);
            if lane.end_hot(unit, units) {
                return Freed::Done;
            }
            // SAFETY: the caller's promise.
            unsafe { self.free_found((cpu, lane), (level, granule), units) }
        });
        freed.unwrap_or(Freed::Elsewhere)
    }

    /// The same where the block is another one than the last.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline(never)]
    unsafe fn free_found(
        &self,
        (cpu, lane): (Cpu, &mut Lane),
        (level, granule): (Level, u64),
        units: usize,
    ) -> Freed {
        let Some(block) = self.directory(level).get(granule) else {
            return Freed::Elsewhere;
        };
        let unit = granule >> level.unit_log2();
        // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
        let block = unsafe { block.as_ref() };
        if block.owner() != cpu {
            block.leave(unit);
            return Freed::Done;
        }
        match lane.end_range(block, unit, units) {
            None => Freed::Done,
            Some(unused) => Freed::Unused(Parted(unused)),
        }
    }

    /// Lends this CPU another block for requests like this one. `leaves` is asked for the entries that go with the block whose
    /// first granule it is given; it says `None` where they are not to be had.
    pub(crate) fn lend(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        request: &LaneRequest<'_>,
        leaves: impl FnOnce(u64) -> Option<Option<Leaves>>,
    ) -> Lending {
        let Some((block, record)) = self.record(lender, space, request, leaves) else {
            return Lending::Refused;
        };
        // SAFETY: it was just recorded, and is taken back under the lock.
        let it = unsafe { block.as_ref() };
        let lent = self.cpus.with(|cpu, seat| {
            it.become_of(cpu, record);
            self.publish(block);
            seat.lane(it.level).add(block);
        });
        match lent {
            Some(()) => Lending::Lent,
            None => {
                it.become_of(Cpu(usize::MAX), record);
                Lending::Unused(Parted(block))
            }
        }
    }

    /// A block that is lent, with its record, and that is nobody's yet; `None` where there is none, or no memory for it.
    fn record(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        request: &LaneRequest<'_>,
        leaves: impl FnOnce(u64) -> Option<Option<Leaves>>,
    ) -> Option<(NonNull<LentBlock>, Handle<LentBlock>)> {
        let fit = Fit::of(*request.request, request.granule_log2).ok()?;
        let level = request.level;
        let (block, start) = space.lend(&fit, level)?;
        let has_room = lender.reserve(level) && self.directory(level).make_way(start).is_ok();
        let leaves = has_room.then(|| leaves(start)).flatten();
        let Some(leaves) = leaves else {
            space.take_back(block, Marks::FREE, |_, _| 0);
            return None;
        };
        let first = start >> level.unit_log2();
        let tails = lender.insert_tails(level);
        let record = LentBlock::new((first, level), space.granule_log2, block, leaves, tails);
        let record = lender.records.insert(record);
        let Ok(record) = record else {
            unreachable!("room for a record was reserved");
        };
        Some((NonNull::from(&lender.records[record]), record))
    }

    /// Makes a block one that is found by its granules.
    fn publish(&self, block: NonNull<LentBlock>) {
        // SAFETY: it was just recorded, and is taken back under the lock, which the caller has.
        let it = unsafe { block.as_ref() };
        let start = it.start << it.level.unit_log2();
        self.directory(it.level).set(start, Some(block));
    }

    /// The space has an unused block again; `part` is called with its level and first granule, as nobody needs its entries any more.
    pub(crate) fn take_back(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        Parted(block): Parted,
        part: impl FnOnce(Level, u64),
    ) {
        // SAFETY: a block that no lane has stays until this.
        let block = unsafe { block.as_ref() };
        self.give(lender, space, block, part);
    }

    /// The space has a block again, with all ranges in it.
    fn give(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        block: &LentBlock,
        part: impl FnOnce(Level, u64),
    ) {
        let (level, record) = (block.level, block.record());
        let start = block.start << level.unit_log2();
        part(level, start);
        self.directory(level).set(start, None);
        space.take_back(block.block, block.marks(), |unit, units| {
            block.granules(block.start + unit as u64, units)
        });
        if let Some(record) = record {
            lender.remove(record);
        }
    }
}

/// Bytes that a CPU has of lanes with `S` beside them when nothing is in use: its own, of each level the block that was chosen from last,
/// and the one of granules that stays though unused.
#[cfg(test)]
pub(crate) const fn idle_bytes<S>() -> usize {
    let seat = size_of::<Seat<S>>().next_multiple_of(128);
    seat + (Level::ALL.len() + 1) * size_of::<LentBlock>()
}

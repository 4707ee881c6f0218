//! One area of a pool: a run of frames cut into slots, with a lock of its own.
//!
//! A pool has a table of areas, most of which have no memory yet.

use core::ops::Range;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::buddy::Buddy;
use super::record::{Holds, Kind, Record};
use super::run::Purpose;
use super::{SLOT_BYTES, SLOT_SIZE_LOG2};
use crate::addr::{BusAddr, PhysAddr, PhysRange};
use crate::map::CopyReach;
use crate::platform::Platform;

/// It has no memory.
const EMPTY: u8 = 0;
/// Somebody is giving it memory, or taking it.
const CHANGING: u8 = 1;
/// It has memory.
const READY: u8 = 2;

/// No bus address of an area, as none ends there.
const NOWHERE: u64 = u64::MAX;

/// Memory of an area.
pub(super) struct Memory<P: Platform> {
    pub(super) frames: PhysRange,
    /// Where the device that the pool belongs to always has it.
    pub(super) bus: Option<BusAddr>,
    pub(super) free: Buddy<P>,
}

/// What an area says of a run it lent.
pub(super) struct Lent {
    /// The first of its slots.
    pub(super) slot: u32,
    pub(super) memory: PhysRange,
    pub(super) purpose: Purpose,
    pub(super) bus: Option<BusAddr>,
    /// What it held when it was lent; of one that is found again nothing is said.
    pub(super) holds: Holds,
}

pub(super) struct Area<P: Platform> {
    state: AtomicU8,
    /// Which sizes of block are free, as last seen: an area without is not worth its lock.
    open: AtomicU32,
    start: AtomicU64,
    len_bytes: AtomicU64,
    /// Where the device that the pool belongs to always has it, or [`NOWHERE`].
    bus: AtomicU64,
    /// The first slot's record.
    records: AtomicPtr<Record>,
    memory: lock_api::Mutex<P::Lock, Option<Memory<P>>>,
}

impl<P: Platform> Area<P> {
    pub(super) fn empty() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            open: AtomicU32::new(0),
            start: AtomicU64::new(0),
            len_bytes: AtomicU64::new(0),
            bus: AtomicU64::new(NOWHERE),
            records: AtomicPtr::new(null_mut()),
            memory: lock_api::Mutex::new(None),
        }
    }

    /// Whether it was empty: then the caller alone may [`install`](Self::install) memory or
    /// [`give_up`](Self::give_up).
    pub(super) fn claim(&self) -> bool {
        self.change(EMPTY, CHANGING)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.load(Ordering::Acquire) == EMPTY
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let changed = self
            .state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        changed.is_ok()
    }

    pub(super) fn give_up(&self) {
        self.state.store(EMPTY, Ordering::Release);
    }

    pub(super) fn install(&self, memory: Memory<P>) {
        let mut place = self.memory.lock();
        self.start
            .store(memory.frames.start().as_u64(), Ordering::Relaxed);
        self.len_bytes
            .store(memory.frames.len_bytes(), Ordering::Relaxed);
        let bus = memory.bus.map_or(NOWHERE, BusAddr::as_u64);
        self.bus.store(bus, Ordering::Relaxed);
        let records = memory.free.records().start();
        self.records.store(records.as_ptr(), Ordering::Relaxed);
        self.open.store(memory.free.open(), Ordering::Relaxed);
        *place = Some(memory);
        self.state.store(READY, Ordering::Release);
    }

    /// The memory it has.
    pub(super) fn frames(&self) -> Option<PhysRange> {
        Some(self.memory.lock().as_ref()?.frames)
    }

    /// Takes runs of the slots `keep` of blocks of `2^order`, up to `most` of them, if the area has room and `reaches` says that its
    /// memory will do. Calls `each` with the first slot of each.
    pub(super) fn take(
        &self,
        order: u32,
        keep: &Range<u32>,
        most: usize,
        reaches: impl FnOnce(PhysRange, Option<BusAddr>) -> bool,
        each: impl FnMut(u32),
    ) {
        let Some(order) = u8::try_from(order).ok().filter(|&order| order < 32) else {
            return;
        };
        if self.state.load(Ordering::Acquire) != READY
            || self.open.load(Ordering::Relaxed) >> order == 0
        {
            return;
        }
        let mut memory = self.memory.lock();
        let Some(Memory { frames, bus, free }) = memory.as_mut() else {
            return;
        };
        if !reaches(*frames, *bus) {
            return;
        }
        free.take_several(order, keep, most, each);
        self.open.store(free.open(), Ordering::Relaxed);
    }

    /// The memory of the run of so many slots from `slot` on, and where the device always has it. The caller has the run.
    #[inline]
    pub(super) fn run_at(&self, slot: u32, slots: u32) -> (PhysRange, Option<BusAddr>) {
        let at = u64::from(slot) << SLOT_SIZE_LOG2;
        let start = PhysAddr::new(self.start.load(Ordering::Relaxed) + at);
        // A part of the area's frames.
        let memory = PhysRange::of_existing(start, u64::from(slots) << SLOT_SIZE_LOG2);
        let bus = match self.bus.load(Ordering::Relaxed) {
            NOWHERE => None,
            bus => Some(BusAddr::new(bus + at)),
        };
        (memory, bus)
    }

    /// Where `slot` is in memory, and when the device has it. The caller has a run of the area.
    #[inline]
    pub(super) fn start_of(&self, slot: u32) -> (u64, CopyReach) {
        let at = u64::from(slot) << SLOT_SIZE_LOG2;
        let reach = match self.bus.load(Ordering::Relaxed) {
            NOWHERE => CopyReach::WhileMapped,
            _ => CopyReach::Always,
        };
        (self.start.load(Ordering::Relaxed) + at, reach)
    }

    /// What is noted of a run.
    ///
    /// # Safety
    /// A run of this area begins at `slot` that is taken, and stays so: the caller has it.
    #[inline]
    pub(super) unsafe fn record(&self, slot: u32) -> &Record {
        // SAFETY: the area keeps its memory, and the records with it, as long as anything of it is taken; whoever has the run got it,
        // perhaps by way of others, from who saw the area have it.
        unsafe { &*self.records.load(Ordering::Relaxed).add(slot as usize) }
    }

    /// Takes back the run of this kind that begins at `slot`; how many slots it had.
    pub(super) fn give_back(&self, slot: u32, kind: Kind) -> Option<u32> {
        let mut memory = self.memory.lock();
        let memory = memory.as_mut()?;
        let slots = memory.free.give_back(slot, kind);
        self.open.store(memory.free.open(), Ordering::Relaxed);
        slots
    }

    /// The run that is lent and whose mapping's first byte is at `first`.
    pub(super) fn find(&self, first: PhysAddr) -> Option<Lent> {
        let start = self.start.load(Ordering::Relaxed);
        let within = first.as_u64().checked_sub(start)?;
        if self.state.load(Ordering::Acquire) != READY
            || within >= self.len_bytes.load(Ordering::Relaxed)
        {
            return None;
        }
        let memory = self.memory.lock();
        let memory = memory.as_ref()?;
        if !memory.frames.contains(first) {
            return None;
        }
        let at = first.as_u64() - memory.frames.start().as_u64();
        let (slot, record) = memory.free.run_of((at >> SLOT_SIZE_LOG2) as u32)?;
        let lent = self.lent(slot, record)?;
        let start = u64::from(slot) << SLOT_SIZE_LOG2;
        (start + lent.purpose.offset == at).then_some(lent)
    }

    /// The run that is lent from `slot` on.
    ///
    /// # Safety
    /// As [`record`](Self::record).
    #[inline]
    pub(super) unsafe fn run(&self, slot: u32) -> Option<Lent> {
        // SAFETY: the caller's promise.
        self.lent(slot, unsafe { self.record(slot) })
    }

    #[inline]
    fn lent(&self, slot: u32, record: &Record) -> Option<Lent> {
        let tag = record.tag();
        if tag.kind() != Kind::Lent {
            return None;
        }
        let (memory, bus) = self.run_at(slot, tag.slots());
        Some(Lent {
            slot,
            memory,
            purpose: record.purpose(),
            bus,
            holds: Holds::Anything,
        })
    }

    /// Takes the memory out, if none of it is lent or kept ready. The caller then [`give_up`](Self::give_up)s.
    pub(super) fn take_idle(&self) -> Option<Memory<P>> {
        let mut place = self.memory.lock();
        let idle = place
            .as_ref()
            .is_some_and(|memory| memory.free.taken() == 0);
        if !idle || !self.change(READY, CHANGING) {
            return None;
        }
        self.open.store(0, Ordering::Relaxed);
        self.len_bytes.store(0, Ordering::Relaxed);
        place.take()
    }

    /// log2 of the slots that fit into `len_bytes`, a power of two.
    pub(super) fn order_of(len_bytes: u64) -> u8 {
        (len_bytes / SLOT_BYTES).ilog2() as u8
    }
}

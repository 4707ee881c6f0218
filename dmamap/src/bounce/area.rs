//! One area of a pool: a run of frames cut into slots, with a lock of its own.
//!
//! A pool has a table of areas, most of which have no memory yet.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::buddy::Buddy;
use super::records::Kind;
use super::request::RunRequest;
use super::run::Purpose;
use super::{SLOT_BYTES, SLOT_SIZE_LOG2};
use crate::addr::{BusAddr, PhysAddr, PhysRange};
use crate::platform::Platform;

/// It has no memory.
const EMPTY: u8 = 0;
/// Somebody is giving it memory, or taking it.
const CHANGING: u8 = 1;
/// It has memory.
const READY: u8 = 2;

/// Memory of an area.
pub(super) struct Memory<P: Platform> {
    pub(super) frames: PhysRange,
    /// Where the device that the pool belongs to always has it.
    pub(super) bus: Option<BusAddr>,
    pub(super) free: Buddy<P>,
}

impl<P: Platform> Memory<P> {
    /// The run that is lent from `slot` on.
    fn lent(&self, slot: u32) -> Option<Lent> {
        let record = self.free.record(slot)?;
        if record.kind != Kind::Lent {
            return None;
        }
        let start = u64::from(slot) << SLOT_SIZE_LOG2;
        let len_bytes = u64::from(record.slots) << SLOT_SIZE_LOG2;
        Some(Lent {
            slot,
            memory: self.frames.slice(start, len_bytes)?,
            purpose: Purpose {
                offset: record.offset.into(),
                len_bytes: record.len_bytes.into(),
                origin: record.origin,
                direction: record.direction,
            },
            bus: self.bus.and_then(|bus| bus.checked_add(start)),
        })
    }
}

/// What an area says of a run it lent.
pub(super) struct Lent {
    /// The first of its slots.
    pub(super) slot: u32,
    pub(super) memory: PhysRange,
    pub(super) purpose: Purpose,
    pub(super) bus: Option<BusAddr>,
}

pub(super) struct Area<P: Platform> {
    state: AtomicU8,
    /// Which sizes of block are free, as last seen: an area without is not worth its lock.
    open: AtomicU32,
    start: AtomicU64,
    len_bytes: AtomicU64,
    memory: lock_api::Mutex<P::Lock, Option<Memory<P>>>,
}

impl<P: Platform> Area<P> {
    pub(super) fn empty() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            open: AtomicU32::new(0),
            start: AtomicU64::new(0),
            len_bytes: AtomicU64::new(0),
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
        self.open.store(memory.free.open(), Ordering::Relaxed);
        *place = Some(memory);
        self.state.store(READY, Ordering::Release);
    }

    /// The memory it has.
    pub(super) fn frames(&self) -> Option<PhysRange> {
        Some(self.memory.lock().as_ref()?.frames)
    }

    /// Lends the slots `keep` of a block of `2^order`, if the area has room and `reaches` says that its memory will do.
    pub(super) fn take(
        &self,
        order: u32,
        keep: &Range<u32>,
        want: &RunRequest,
        reaches: impl Fn(PhysRange, Option<BusAddr>) -> bool,
    ) -> Option<Lent> {
        let order = u8::try_from(order).ok().filter(|&order| order < 32)?;
        if self.state.load(Ordering::Acquire) != READY
            || self.open.load(Ordering::Relaxed) >> order == 0
        {
            return None;
        }
        let mut memory = self.memory.lock();
        let Memory { frames, bus, free } = memory.as_mut()?;
        if !reaches(*frames, *bus) {
            return None;
        }
        let slot = free.take(order, keep.clone())?;
        let first = u64::from(keep.start) << SLOT_SIZE_LOG2;
        let purpose = want.purpose(want.offset - first);
        free.note(slot, &purpose);
        self.open.store(free.open(), Ordering::Relaxed);
        let slots = u64::from(keep.end - keep.start);
        let at = u64::from(slot) << SLOT_SIZE_LOG2;
        Some(Lent {
            slot,
            memory: frames
                .slice(at, slots << SLOT_SIZE_LOG2)
                .expect("slots lie in the area"),
            purpose,
            bus: bus.and_then(|bus| bus.checked_add(at)),
        })
    }

    /// Takes back the run that begins at `start`; how many slots it had.
    pub(super) fn give_back(&self, start: PhysAddr) -> Option<u32> {
        let mut memory = self.memory.lock();
        let memory = memory.as_mut()?;
        let at = start.as_u64().checked_sub(memory.frames.start().as_u64())?;
        let slots = memory.free.give_back((at >> SLOT_SIZE_LOG2) as u32);
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
        let slot = memory.free.run_of((at >> SLOT_SIZE_LOG2) as u32)?;
        let lent = memory.lent(slot)?;
        let start = u64::from(slot) << SLOT_SIZE_LOG2;
        (start + lent.purpose.offset == at).then_some(lent)
    }

    /// The run that is lent from `slot` on.
    pub(super) fn run(&self, slot: u32) -> Option<Lent> {
        self.memory.lock().as_ref()?.lent(slot)
    }

    /// Takes the memory out, if none of it is lent. The caller then [`give_up`](Self::give_up)s.
    pub(super) fn take_idle(&self) -> Option<Memory<P>> {
        let mut place = self.memory.lock();
        let idle = place.as_ref().is_some_and(|memory| memory.free.lent() == 0);
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

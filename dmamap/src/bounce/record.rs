//! What is noted of one slot.

use super::run::Purpose;
use super::sync::Ordering::Relaxed;
use super::sync::{AtomicU32, AtomicU64};
use crate::addr::PhysAddr;
use crate::map::AnyDirection;

/// What a slot is to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Part of the block or of the run that begins before it.
    Inner,
    /// The first slot of a free block.
    Free,
    /// The first slot of a run that a CPU keeps ready: neither free in the area nor lent.
    Kept,
    /// The first slot of a run that is lent.
    Lent,
}

/// What a run holds that nobody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holds {
    /// Zeros, all of it.
    Zeros,
    /// What its last user left there.
    Anything,
}

/// What is noted of one slot.
///
/// The first slot of a run that is kept or lent is written by whoever has the run, without the area's lock; all others under
/// it, which others hold who look for blocks beside the run. So words are atomic. Who has the run got it from who wrote it.
pub(super) struct Record {
    /// Where the mapping's memory is, its first byte, where this begins a lent run.
    origin: AtomicU64,
    /// Bytes of the mapping.
    len_bytes: AtomicU32,
    /// Where in the run the mapping's first byte is; the free block before this one, where this begins a free block.
    offset: AtomicU32,
    /// The next free block of the same order, or the next run that is kept.
    next: AtomicU32,
    /// A [`Tag`].
    tag: AtomicU32,
}

/// What a slot is, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag(u32);

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

impl Tag {
    const INNER: Self = Self::new(Kind::Inner, 0, 0);

    /// `detail` is log2 of a free block's slots, who moves a lent run's data, or whether a kept one holds zeros; `slots` are those of a
    /// run.
    const fn new(kind: Kind, detail: u8, slots: u32) -> Self {
        // An area has at most 2^15 slots.
        Self(kind as u32 | (detail as u32) << 8 | slots << 16)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.0 as u8 {
            1 => Kind::Free,
            2 => Kind::Kept,
            3 => Kind::Lent,
            _ => Kind::Inner,
        }
    }

    /// Slots of a run that is kept or lent.
    #[inline]
    pub(super) fn slots(self) -> u32 {
        self.0 >> 16
    }

    /// What a run holds that is kept.
    #[inline]
    pub(super) fn holds(self) -> Holds {
        match (self.0 >> 8) as u8 {
            1 => Holds::Zeros,
            _ => Holds::Anything,
        }
    }

    #[inline]
    fn direction(self) -> AnyDirection {
        match (self.0 >> 8) as u8 {
            0 => AnyDirection::ToDevice,
            1 => AnyDirection::FromDevice,
            _ => AnyDirection::Bidirectional,
        }
    }
}

impl Record {
    /// Of a slot that begins nothing.
    pub(super) fn inner() -> Self {
        Self {
            origin: AtomicU64::new(0),
            len_bytes: AtomicU32::new(0),
            offset: AtomicU32::new(0),
            next: AtomicU32::new(NONE),
            tag: AtomicU32::new(Tag::INNER.0),
        }
    }

    #[inline]
    pub(super) fn tag(&self) -> Tag {
        Tag(self.tag.load(Relaxed))
    }

    #[inline]
    fn set(&self, tag: Tag) {
        self.tag.store(tag.0, Relaxed);
    }

    /// Whether a free block of `2^order` slots begins here.
    pub(super) fn is_free(&self, order: u8) -> bool {
        self.tag() == Tag::new(Kind::Free, order, 0)
    }

    /// Begins a free block of `2^order` slots.
    pub(super) fn begin_free(&self, order: u8, previous: u32, next: u32) {
        self.offset.store(previous, Relaxed);
        self.next.store(next, Relaxed);
        self.set(Tag::new(Kind::Free, order, 0));
    }

    pub(super) fn end_block(&self) {
        self.set(Tag::INNER);
    }

    pub(super) fn previous(&self) -> u32 {
        self.offset.load(Relaxed)
    }

    pub(super) fn set_previous(&self, previous: u32) {
        self.offset.store(previous, Relaxed);
    }

    #[inline]
    pub(super) fn next(&self) -> u32 {
        self.next.load(Relaxed)
    }

    pub(super) fn set_next(&self, next: u32) {
        self.next.store(next, Relaxed);
    }

    /// Begins a run of `slots` that is kept, `next` behind it.
    #[inline]
    pub(super) fn keep(&self, slots: u32, next: u32, holds: Holds) {
        self.next.store(next, Relaxed);
        let holds = match holds {
            Holds::Zeros => 1,
            Holds::Anything => 0,
        };
        self.set(Tag::new(Kind::Kept, holds, slots));
    }

    /// Begins a run of `slots` that is lent for `purpose`.
    #[inline]
    pub(super) fn lend(&self, slots: u32, purpose: &Purpose) {
        self.origin.store(purpose.origin.as_u64(), Relaxed);
        // An area is far below 4 GiB.
        self.len_bytes.store(purpose.len_bytes as u32, Relaxed);
        self.offset.store(purpose.offset as u32, Relaxed);
        let direction = match purpose.direction {
            AnyDirection::ToDevice => 0,
            AnyDirection::FromDevice => 1,
            AnyDirection::Bidirectional => 2,
        };
        self.set(Tag::new(Kind::Lent, direction, slots));
    }

    /// Where in the run that begins here the mapping's first byte is, and how many bytes the mapping has.
    #[inline]
    pub(super) fn extent(&self) -> (u64, u64) {
        let offset = self.offset.load(Relaxed);
        (offset.into(), self.len_bytes.load(Relaxed).into())
    }

    /// What the run that begins here was lent for.
    #[inline]
    pub(super) fn purpose(&self) -> Purpose {
        Purpose {
            offset: self.offset.load(Relaxed).into(),
            len_bytes: self.len_bytes.load(Relaxed).into(),
            origin: PhysAddr::new(self.origin.load(Relaxed)),
            direction: self.tag().direction(),
        }
    }
}

//! What a device reaches through a mapping: the buffer itself, a copy of it, or the buffer with its ends copied.

use core::ptr::NonNull;

use crate::addr::PhysRange;
use crate::bounce::{PoolName, Run};
use crate::device::DeviceCore;
use crate::platform::Platform;

/// What a device reaches through a mapping.
#[derive(Debug)]
pub(crate) enum Backing {
    /// The buffer itself.
    InPlace,
    /// A copy of it.
    Whole {
        /// Where it came from.
        pool: PoolName,
        /// The copy.
        run: Run,
    },
    /// The buffer, but for what lies in pages that are not the buffer's alone.
    Edges {
        /// The copy of what lies in the first page.
        head: Option<Run>,
        /// The copy of what lies in the last page.
        tail: Option<Run>,
    },
}

/// Where the device has some bytes of a mapping.
pub(crate) enum Side<'a> {
    /// In the buffer.
    Buffer,
    /// In a copy, from that byte of it on.
    Copy(&'a Run, u64),
}

impl Backing {
    /// Where the device has byte `offset` of a mapping of `whole` bytes, and how many bytes from there lie side by side.
    pub(crate) fn side(&self, offset: u64, whole: u64) -> (Side<'_>, u64) {
        match self {
            Self::InPlace => (Side::Buffer, whole - offset),
            Self::Whole { run, .. } => (Side::Copy(run, offset), whole - offset),
            Self::Edges { head, tail } => {
                let head_end = head.as_ref().map_or(0, Run::len_bytes);
                let tail_start = whole - tail.as_ref().map_or(0, Run::len_bytes);
                match (head, tail) {
                    (Some(head), _) if offset < head_end => {
                        (Side::Copy(head, offset), head_end - offset)
                    }
                    (_, Some(tail)) if offset >= tail_start => {
                        (Side::Copy(tail, offset - tail_start), whole - offset)
                    }
                    _ => (Side::Buffer, tail_start - offset),
                }
            }
        }
    }

    /// Calls `visit` with each stretch of the `len_bytes` bytes from `offset` on: where the device has it, which byte of the
    /// mapping it begins with, and its bytes.
    pub(crate) fn each_side(
        &self,
        offset: u64,
        len_bytes: u64,
        whole: u64,
        mut visit: impl FnMut(Side<'_>, u64, u64),
    ) {
        let (mut at, end) = (offset, offset + len_bytes);
        while at < end {
            let (side, run_bytes) = self.side(at, whole);
            let len = run_bytes.min(end - at);
            visit(side, at, len);
            at += len;
        }
    }

    /// The first piece of memory whose addresses decide where the device is given the mapping, `first` being that of the
    /// mapping's own.
    pub(crate) fn first(&self, first: PhysRange) -> PhysRange {
        match self {
            Self::Whole { run, .. } => run.bytes(),
            // The copies of edges are where the memory is in its pages, and keep no more of its addresses.
            Self::InPlace | Self::Edges { .. } => first,
        }
    }

    /// Whether the device reaches copies of any bytes.
    pub(crate) fn is_copied(&self) -> bool {
        !matches!(self, Self::InPlace)
    }

    /// What the device reaches of a span whose links so far are this, once a link after them is `later`: but for the first
    /// bytes of the first link and the last ones of the last no link has copies.
    pub(crate) fn followed_by(self, later: Self) -> Self {
        match (self, later) {
            (before, Self::InPlace) => before,
            (
                Self::Edges { head, tail },
                Self::Edges {
                    head: later_head,
                    tail: later_tail,
                },
            ) => Self::Edges {
                head: head.or(later_head),
                tail: later_tail.or(tail),
            },
            (_, later) => later,
        }
    }

    /// Bytes that are copied.
    pub(crate) fn copied_bytes(&self) -> u64 {
        self.runs().map(Run::len_bytes).sum()
    }

    /// Bytes of the pools that the device may go on reaching if it was not confirmed that it lost the mapping.
    pub(crate) fn lent_bytes(&self) -> u64 {
        self.runs().map(|run| run.memory().len_bytes()).sum()
    }

    /// The copies.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        let (first, second) = match self {
            Self::InPlace => (None, None),
            Self::Whole { run, .. } => (Some(run), None),
            Self::Edges { head, tail } => (head.as_ref(), tail.as_ref()),
        };
        first.into_iter().chain(second)
    }

    /// Gives the copies back to their pools.
    ///
    /// # Safety
    /// The device lost the mapping, or has the memory always.
    pub(crate) unsafe fn release<P: Platform>(self, core: &DeviceCore<P>) {
        match self {
            Self::InPlace => {}
            Self::Whole { pool, run } => {
                if run.bus_range().is_some() {
                    // What the device may read at any time holds nothing of a mapping that is over.
                    run.wipe(core.platform);
                    core.clean_for_device(run.memory());
                }
                // SAFETY: the caller's promise; it came from this pool.
                unsafe { core.bounce.pool(pool).release(run) };
            }
            Self::Edges { head, tail } => {
                for run in head.into_iter().chain(tail) {
                    // SAFETY: as above.
                    unsafe { core.bounce.shared.release(run) };
                }
            }
        }
    }

    /// Copies what the device wrote from the copies to the buffer whose first byte is at `buffer`, of the `len_bytes` bytes
    /// from `offset` on.
    ///
    /// # Safety
    /// The `whole` bytes from `buffer` on are writable and no reference to them is in use.
    pub(crate) unsafe fn copy_out<P: Platform>(
        &self,
        platform: P,
        buffer: NonNull<u8>,
        offset: u64,
        len_bytes: u64,
        whole: u64,
    ) {
        self.each_side(offset, len_bytes, whole, |side, at, len| {
            if let Side::Copy(run, within) = side {
                // SAFETY: within the copy, and within the buffer that the caller vouches for.
                unsafe { run.copy_out(platform, within, buffer.add(at as usize), len) };
            }
        });
    }
}

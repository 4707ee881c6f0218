//! The requests of one submission, as they will lie in the queue (VIRTIO 5.13.6).

use hw::virtio::iommu::request::{Attach, AttachFlags, Detach, Map, MapFlags, Probe, Unmap};

use super::record::Run;
use crate::pagetable::Permission;

/// Words of the longest request.
pub(super) const WORDS_MAX: usize = Probe::WORDS;

/// Most requests of one submission.
pub(super) const MAX_BATCH: usize = 32;

/// A request's words.
#[derive(Clone, Copy)]
pub(super) struct Request {
    words: [u32; WORDS_MAX],
    len: usize,
}

impl Request {
    fn new<const N: usize>(source: [u32; N]) -> Self {
        let mut words = [0; WORDS_MAX];
        words[..N].copy_from_slice(&source);
        Self { words, len: N }
    }

    pub(super) fn attach(domain: u32, endpoint: u32, flags: AttachFlags) -> Self {
        Self::new(
            Attach {
                domain,
                endpoint,
                flags,
            }
            .to_words(),
        )
    }

    pub(super) fn detach(domain: u32, endpoint: u32) -> Self {
        Self::new(Detach { domain, endpoint }.to_words())
    }

    pub(super) fn map(domain: u32, run: Run) -> Self {
        Self::new(
            Map {
                domain,
                virt_start: run.first,
                virt_end: run.last,
                phys_start: run.phys.as_u64(),
                flags: flags(run.permission),
            }
            .to_words(),
        )
    }

    /// Unmaps `first` to `last`, inclusive.
    pub(super) fn unmap(domain: u32, first: u64, last: u64) -> Self {
        Self::new(
            Unmap {
                domain,
                virt_start: first,
                virt_end: last,
            }
            .to_words(),
        )
    }

    pub(super) fn probe(endpoint: u32) -> Self {
        Self::new(Probe { endpoint }.to_words())
    }

    pub(super) fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }
}

fn flags(permission: Permission) -> MapFlags {
    MapFlags::new()
        .with_read(permission.reads())
        .with_write(permission.writes())
}

/// A few requests, without allocating.
pub(super) struct Batch {
    requests: [Request; MAX_BATCH],
    len: usize,
    room: usize,
}

impl Batch {
    /// With room for so many; at most [`MAX_BATCH`].
    pub(super) fn with_room(room: usize) -> Self {
        let empty = Request {
            words: [0; WORDS_MAX],
            len: 0,
        };
        Self {
            requests: [empty; MAX_BATCH],
            len: 0,
            room: room.min(MAX_BATCH),
        }
    }

    pub(super) fn one(request: Request) -> Self {
        let mut batch = Self::with_room(1);
        batch.push(request);
        batch
    }

    /// Adds a request; not to a batch that [is full](Self::is_full).
    pub(super) fn push(&mut self, request: Request) {
        self.requests[self.len] = request;
        self.len += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.room
    }

    pub(super) fn as_slice(&self) -> &[Request] {
        &self.requests[..self.len]
    }
}

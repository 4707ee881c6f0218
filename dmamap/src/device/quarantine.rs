//! Memory that a device may still reach although its mapping ended, kept until it is known that it does not.
//!
//! What counts as knowing is decided in one place, [`Device::recover`](super::Device::recover) and the detach of a
//! device: the word of the units. A quarantine that is dropped without it leaks what it holds.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering};

use super::erased::Erased;
use crate::buffer::DmaMemory;
use crate::platform::Platform;
use crate::slab::{Handle, Slab};

type Node<P> = Handle<Kept<P>>;

/// One owner of memory.
struct Kept<P: Platform> {
    next: Option<Node<P>>,
    len_bytes: u64,
    owner: ManuallyDrop<Erased<P>>,
}

struct List<P: Platform> {
    nodes: Slab<P, Kept<P>>,
    first: Option<Node<P>>,
    /// Bytes whose owners are elsewhere: of mappings of the raw layer.
    foreign_bytes: u64,
}

/// The quarantine of one device.
pub(crate) struct Quarantine<P: Platform> {
    platform: P,
    list: lock_api::Mutex<P::Lock, List<P>>,
    bytes: AtomicU64,
    lost_bytes: AtomicU64,
}

/// What was in quarantine at some moment, taken out of it to be released or put back. Dropping it leaks it.
#[must_use]
pub(crate) struct Taken<P: Platform> {
    first: Option<Node<P>>,
    foreign_bytes: u64,
}

impl<P: Platform> Quarantine<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self {
            platform,
            list: lock_api::Mutex::new(List {
                nodes: Slab::new(platform),
                first: None,
                foreign_bytes: 0,
            }),
            bytes: AtomicU64::new(0),
            lost_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are not held but leaked, as there was no memory to note them down in.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    /// Keeps `owner`'s memory. Where there is not even memory to remember it by, it is leaked.
    pub(crate) fn keep<B: DmaMemory>(&self, owner: ManuallyDrop<B>) {
        let len_bytes = owner.len_bytes();
        let Ok(owner) = Erased::new(self.platform, owner) else {
            return self.lose(len_bytes);
        };
        let owner = ManuallyDrop::new(owner);
        let mut list = self.list.lock();
        // Room first: an insertion that fails drops what it was given.
        if list.nodes.reserve(1).is_err() {
            drop(list);
            return self.lose(len_bytes);
        }
        let next = list.first;
        let kept = Kept {
            next,
            len_bytes,
            owner,
        };
        let node = list.nodes.insert(kept);
        list.first = Some(node.expect("there is room for one"));
        self.bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Counts memory that is leaked.
    pub(crate) fn lose(&self, len_bytes: u64) {
        self.lost_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Counts memory that its owner keeps.
    pub(crate) fn count_foreign(&self, len_bytes: u64) {
        self.list.lock().foreign_bytes += len_bytes;
        self.bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// All there is.
    pub(crate) fn take(&self) -> Taken<P> {
        let mut list = self.list.lock();
        Taken {
            first: list.first.take(),
            foreign_bytes: core::mem::take(&mut list.foreign_bytes),
        }
    }

    /// Drops the owners of what was `taken` from here; returns how many bytes came back.
    ///
    /// # Safety
    /// No device reaches that memory any more.
    pub(crate) unsafe fn release(&self, taken: Taken<P>) -> u64 {
        let mut len_bytes = taken.foreign_bytes;
        self.bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        let mut next = taken.first;
        while let Some(node) = next {
            // Owners are dropped without the lock: it is not known what they do.
            let kept = self.list.lock().nodes.remove(node);
            let kept = kept.expect("what was taken is in the slab until it is released");
            next = kept.next;
            len_bytes += kept.len_bytes;
            self.bytes.fetch_sub(kept.len_bytes, Ordering::Relaxed);
            drop(ManuallyDrop::into_inner(kept.owner));
        }
        self.list.lock().nodes.reclaim();
        len_bytes
    }

    /// Takes back what was `taken` from here.
    pub(crate) fn put_back(&self, taken: Taken<P>) {
        let mut list = self.list.lock();
        list.foreign_bytes += taken.foreign_bytes;
        let Some(first) = taken.first else { return };
        let mut last = first;
        while let Some(next) = list.nodes[last].next {
            last = next;
        }
        let rest = list.first.replace(first);
        list.nodes[last].next = rest;
    }
}

//! Memory that a device may still reach although its mapping ended, kept until it is known that it does not.
//!
//! What counts as knowing is decided in one place, [`Device::recover`](super::Device::recover) and the detach of a
//! device: the word of the units. A quarantine that is dropped without it leaks what it holds.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering};

use super::DeviceCore;
use super::erased::Erased;
use crate::iommu::RevokeError;
use crate::map::Backing;
use crate::platform::Platform;
use crate::slab::{Handle, Slab};

type Node<P> = Handle<Kept<P>>;

/// The memory of one mapping.
struct Kept<P: Platform> {
    next: Option<Node<P>>,
    /// The owner's bytes, and those lent for copies.
    len_bytes: u64,
    /// `None` where only the copies are kept here.
    owner: Option<ManuallyDrop<Erased<P>>>,
    /// What the device was given instead.
    copies: Backing,
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

    /// Keeps `owner`, of `len_bytes` bytes, and what the device was given copies in. Where there is not even memory to
    /// remember them by, they are leaked.
    pub(crate) fn keep<T: Send + 'static>(
        &self,
        owner: ManuallyDrop<T>,
        len_bytes: u64,
        copies: Backing,
    ) {
        let erase = || {
            Some(Some(ManuallyDrop::new(
                Erased::new(self.platform, owner).ok()?,
            )))
        };
        self.note(erase, len_bytes, copies);
    }

    /// Notes down what `owner` has, if there is memory to.
    fn note(
        &self,
        owner: impl FnOnce() -> Option<Option<ManuallyDrop<Erased<P>>>>,
        len_bytes: u64,
        copies: Backing,
    ) {
        let len_bytes = len_bytes + copies.lent_bytes();
        let mut list = self.list.lock();
        // Room first: an insertion that fails drops what it was given, and an owner that is not kept takes its frames along.
        let owner = list.nodes.reserve(1).ok().and_then(|()| owner());
        let Some(owner) = owner else {
            drop(list);
            return self.lose(len_bytes);
        };
        let kept = Kept {
            next: list.first,
            len_bytes,
            owner,
            copies,
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

    /// Whether nothing is held. Once nothing can come in any more it stays so.
    pub(crate) fn is_empty(&self) -> bool {
        // Acquire, so that who sees it empty sees that what was released is.
        self.bytes.load(Ordering::Acquire) == 0
    }

    /// All there is.
    pub(crate) fn take(&self) -> Taken<P> {
        let mut list = self.list.lock();
        Taken {
            first: list.first.take(),
            foreign_bytes: core::mem::take(&mut list.foreign_bytes),
        }
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

impl<P: Platform> DeviceCore<P> {
    /// Keeps what `owner` owns, `len_bytes` bytes, and what the device was given copies in, until it is known that the device
    /// lost them, which `error` says it is not.
    pub(crate) fn keep_from_use<T: Send + 'static>(
        &self,
        owner: ManuallyDrop<T>,
        len_bytes: u64,
        copies: Backing,
        error: RevokeError,
    ) {
        match error {
            RevokeError::Unit(_) | RevokeError::DetachUnconfirmed => {
                self.quarantine.keep(owner, len_bytes, copies);
            }
            // Nothing was taken from the device, or it is not known what: this would never come back.
            _ => self.quarantine.lose(len_bytes + copies.lent_bytes()),
        }
    }

    /// The same for copies alone: the memory itself the device does not reach, or somebody else keeps it.
    pub(crate) fn keep_copies_from_use(&self, copies: Backing, error: RevokeError) {
        if !copies.is_copied() {
            return;
        }
        match error.is_final() {
            true => self.quarantine.lose(copies.lent_bytes()),
            false => self.quarantine.note(|| Some(None), 0, copies),
        }
    }

    /// Drops the owners of what was `taken` from the device's quarantine, and gives the copies back to their pools; returns
    /// how many bytes came back.
    ///
    /// # Safety
    /// No device reaches that memory any more, but copies that it always has.
    pub(crate) unsafe fn release_quarantined(&self, taken: Taken<P>) -> u64 {
        let quarantine = &self.quarantine;
        let mut len_bytes = taken.foreign_bytes;
        let mut next = taken.first;
        while let Some(node) = next {
            // Owners are dropped without the lock: it is not known what they do.
            let kept = quarantine.list.lock().nodes.remove(node);
            let kept = kept.expect("what was taken is in the slab until it is released");
            next = kept.next;
            len_bytes += kept.len_bytes;
            // SAFETY: the caller's promise; they were lent for a mapping of this device.
            unsafe { kept.copies.release(self) };
            drop(kept.owner.map(ManuallyDrop::into_inner));
        }
        quarantine.list.lock().nodes.reclaim();
        quarantine.bytes.fetch_sub(len_bytes, Ordering::Release);
        len_bytes
    }
}

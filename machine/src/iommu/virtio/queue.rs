//! A virtqueue as the device uses it. How a split virtqueue works is rust-vmm's `virtio-queue`'s to know; here is
//! what it lets pass and a correct driver never does.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hw::virtio::queue::{self as layout, UsedEntry};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::memory::QueueMemory;
use crate::findings::FindingKind;
use crate::iommu::freed::Freed;
use crate::iommu::reporter::Reporter;

/// A queue in use.
#[derive(Debug)]
pub(super) struct VirtQueue {
    name: &'static str,
    queue: Queue,
    memory: Arc<QueueMemory>,
    /// First descriptors of buffers that were taken and not given back.
    taken: BTreeSet<u16>,
}

/// Where a driver put a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) size: u16,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// A buffer that the driver made available.
#[derive(Debug)]
pub(super) struct Buffer {
    chain: DescriptorChain<Arc<QueueMemory>>,
    pieces: Vec<Range<u64>>,
    /// Bytes the device may read, then those it may write.
    readable: u64,
    writable: u64,
}

/// A queue that the device cannot go on with: it needs a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl VirtQueue {
    /// The queue at `place`, whose values the driver vouches for.
    pub(super) fn new(
        name: &'static str,
        place: Place,
        event_idx: bool,
        memory: &Arc<QueueMemory>,
        reporter: &Reporter,
    ) -> Result<Self, Broken> {
        let broken = |what: &str| {
            reporter.illegal(format!("{name}: {what}: {place:x?}"));
            Broken
        };
        let mut queue = Queue::new(layout::SIZE_MAX).expect("the manual's own limit");
        queue
            .try_set_size(place.size)
            .map_err(|_| broken("no size of a queue"))?;
        let address = GuestAddress;
        queue
            .try_set_desc_table_address(address(place.descriptors))
            .and_then(|()| queue.try_set_avail_ring_address(address(place.available)))
            .and_then(|()| queue.try_set_used_ring_address(address(place.used)))
            .map_err(|_| broken("not aligned"))?;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        if !queue.is_valid(&**memory) {
            return Err(broken("not in memory"));
        }
        Ok(Self {
            name,
            queue,
            memory: Arc::clone(memory),
            taken: BTreeSet::new(),
        })
    }

    /// The next buffer, if there is one.
    pub(super) fn take(&mut self, reporter: &Reporter) -> Result<Option<Buffer>, Broken> {
        let name = self.name;
        let broken = |what: String| {
            reporter.report(FindingKind::ProtocolViolation, format!("{name}: {what}"));
            Broken
        };
        let chain = self
            .queue
            .iter(Arc::clone(&self.memory))
            .map_err(|error| broken(format!("available ring: {error}")))?
            .next();
        let Some(chain) = chain else {
            return Ok(None);
        };
        let head = chain.head_index();
        if head >= self.queue.size() {
            return Err(broken(format!("descriptor {head} does not exist")));
        }
        if !self.taken.insert(head) {
            return Err(broken(format!(
                "the buffer of descriptor {head} was made available again before it was used"
            )));
        }
        Buffer::new(chain)
            .map(Some)
            .map_err(|what| broken(format!("the buffer of descriptor {head} {what}")))
    }

    /// Gives a buffer back, of which `written` bytes were written. Whether the driver wants an interrupt.
    pub(super) fn give_back(&mut self, buffer: &Buffer, written: u32, reporter: &Reporter) -> bool {
        self.give_back_as(buffer, u32::from(buffer.head()), written, reporter)
    }

    /// As [`give_back`](Self::give_back), but the used ring names `id`: a broken device.
    pub(super) fn give_back_as(
        &mut self,
        buffer: &Buffer,
        id: u32,
        written: u32,
        reporter: &Reporter,
    ) -> bool {
        self.taken.remove(&buffer.head());
        let expected = self.queue.next_used();
        match self.queue.used_idx(&*self.memory, Ordering::Acquire) {
            Ok(found) if found.0 == expected => {}
            found => reporter.report(
                FindingKind::ProtocolViolation,
                format!(
                    "{}: the used ring's index is {found:x?} where the device left {expected:#x}",
                    self.name
                ),
            ),
        }
        let added = if id == u32::from(buffer.head()) {
            self.queue.add_used(&*self.memory, buffer.head(), written)
        } else {
            self.add_unknown(UsedEntry { id, len: written })
        };
        added.is_ok() && self.wants_interrupt()
    }

    /// Adds an entry that names no buffer, which `virtio-queue` does not do.
    fn add_unknown(&mut self, entry: UsedEntry) -> Result<(), virtio_queue::Error> {
        let index = self.queue.next_used();
        let ring = self.queue.used_ring();
        let at = ring + layout::used_entry(index % self.queue.size());
        let next = index.wrapping_add(1);
        self.queue.set_next_used(next);
        self.memory
            .write_obj(entry.to_words(), GuestAddress(at))
            .and_then(|()| {
                let at = GuestAddress(ring + layout::USED_IDX);
                self.memory.store(next, at, Ordering::Release)
            })
            .map_err(virtio_queue::Error::GuestMemory)
    }

    /// Whether the driver wants to be told of the buffer just used (2.7.7).
    fn wants_interrupt(&mut self) -> bool {
        if self.queue.event_idx_enabled() {
            return self
                .queue
                .needs_notification(&*self.memory)
                .unwrap_or(false);
        }
        let at = self.queue.avail_ring() + layout::AVAILABLE_FLAGS;
        let flags = self.memory.load(GuestAddress(at), Ordering::Acquire);
        flags.is_ok_and(|flags| !layout::AvailableFlags::from_bits(flags).no_interrupt())
    }

    /// Asks for a notification of what is made available from now on; whether something is already.
    pub(super) fn listen(&mut self) -> bool {
        self.queue
            .enable_notification(&*self.memory)
            .unwrap_or(false)
    }

    /// Tells `freed` what of the driver's memory is in use: the rings, and buffers made available but not taken.
    pub(super) fn tell_uses(&self, freed: &mut Freed) {
        let size = self.queue.size();
        let name = self.name;
        let parts = [
            (
                self.queue.desc_table(),
                u64::from(size) * layout::DESCRIPTOR_BYTES,
                "descriptors",
            ),
            (
                self.queue.avail_ring(),
                layout::available_bytes(size),
                "available ring",
            ),
            (
                self.queue.used_ring(),
                layout::used_bytes(size),
                "used ring",
            ),
        ];
        for (phys, len_bytes, what) in parts {
            freed.range(phys, len_bytes, || format!("the {what} of the {name}"));
        }
        // A second reader of the same rings, which takes nothing from the first.
        let mut ahead = Queue::new(layout::SIZE_MAX).expect("the manual's own limit");
        ahead.set_size(size);
        let halves = |phys: u64| (Some(phys as u32), Some((phys >> 32) as u32));
        let (low, high) = halves(self.queue.desc_table());
        ahead.set_desc_table_address(low, high);
        let (low, high) = halves(self.queue.avail_ring());
        ahead.set_avail_ring_address(low, high);
        let (low, high) = halves(self.queue.used_ring());
        ahead.set_used_ring_address(low, high);
        ahead.set_next_avail(self.queue.next_avail());
        ahead.set_ready(true);
        if let Ok(available) = ahead.iter(Arc::clone(&self.memory)) {
            for buffer in available.filter_map(|chain| Buffer::new(chain).ok()) {
                buffer.tell_uses(name, freed);
            }
        }
    }
}

impl Buffer {
    fn new(chain: DescriptorChain<Arc<QueueMemory>>) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let (mut readable, mut writable) = (0, 0);
        let mut goes_on = true;
        for descriptor in chain.clone() {
            let len = u64::from(descriptor.len());
            let start = descriptor.addr().0;
            let Some(end) = start.checked_add(len) else {
                return Err("passes the end of the address space");
            };
            pieces.push(start..end);
            if descriptor.is_write_only() {
                writable += len;
            } else if writable != 0 {
                return Err("has a part to read behind one to write");
            } else {
                readable += len;
            }
            goes_on = descriptor.has_next();
        }
        if goes_on {
            return Err("is a chain that does not end");
        }
        Ok(Self {
            chain,
            pieces,
            readable,
            writable,
        })
    }

    fn head(&self) -> u16 {
        self.chain.head_index()
    }

    pub(super) fn readable(&self) -> u64 {
        self.readable
    }

    pub(super) fn writable(&self) -> u64 {
        self.writable
    }

    /// The words of 32 bits that the device reads; `None` where it is no memory.
    pub(super) fn read_words(&self) -> Option<Vec<u32>> {
        let mut bytes = Vec::new();
        self.chain
            .clone()
            .reader(self.chain.memory())
            .ok()?
            .read_to_end(&mut bytes)
            .ok()?;
        let words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
        Some(words.collect())
    }

    /// Writes `bytes` to the start of what the device writes; `None` where it is no memory or too short.
    pub(super) fn write(&self, bytes: &[u8]) -> Option<()> {
        self.chain
            .clone()
            .writer(self.chain.memory())
            .ok()?
            .write_all(bytes)
            .ok()
    }

    /// Tells `freed` the memory of the buffer.
    pub(super) fn tell_uses(&self, queue: &str, freed: &mut Freed) {
        for piece in &self.pieces {
            freed.range(piece.start, piece.end - piece.start, || {
                format!("a buffer in the {queue}, at phys {:#x}", piece.start)
            });
        }
    }
}

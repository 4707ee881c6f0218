//! A virtqueue as a device behind an IOMMU uses it. How a split virtqueue works is rust-vmm's `virtio-queue`'s to know; here
//! are what a correct driver never does, buffers by bus address, and lies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hw::virtio::queue::{self as layout, UsedEntry, UsedFlags};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::memory::BusMemory;
use super::misbehaviour::{Answer, Misbehaviour};
use crate::bus::{BusRun, DmaError};

/// Most bytes of one buffer that a device takes.
const MAX_BUFFER_BYTES: u64 = 16 << 20;

/// Where the driver put a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) size: u16,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// Why a queue cannot go on; the device needs a reset then.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The driver did what it must not.
    #[error("{0}")]
    Driver(String),
    /// Memory was not reached, as happens when the driver takes it away.
    #[error("memory is not reached: {0}")]
    Memory(String),
}

impl From<DmaError> for Broken {
    fn from(error: DmaError) -> Self {
        Self::Memory(error.to_string())
    }
}

/// A queue in use.
#[derive(Debug)]
pub(super) struct DeviceQueue {
    queue: Queue,
    memory: Arc<BusMemory>,
    misbehaviour: Misbehaviour,
    /// First descriptors of buffers that were taken and not given back.
    taken: BTreeSet<u16>,
}

/// A buffer that the driver made available.
#[derive(Debug)]
pub(super) struct Buffer {
    head: u16,
    readable: Vec<BusRun>,
    writable: Vec<BusRun>,
}

impl DeviceQueue {
    pub(super) fn new(
        placement: Placement,
        memory: &Arc<BusMemory>,
        misbehaviour: Misbehaviour,
    ) -> Result<Self, Broken> {
        let wrong = |_| Broken::Driver(format!("no queue can be there: {placement:x?}"));
        let mut queue = Queue::new(layout::SIZE_MAX).map_err(wrong)?;
        queue.try_set_size(placement.size).map_err(wrong)?;
        let address = GuestAddress;
        queue
            .try_set_desc_table_address(address(placement.descriptors))
            .and_then(|()| queue.try_set_avail_ring_address(address(placement.available)))
            .and_then(|()| queue.try_set_used_ring_address(address(placement.used)))
            .map_err(wrong)?;
        queue.set_ready(true);
        let this = Self {
            queue,
            memory: Arc::clone(memory),
            misbehaviour,
            taken: BTreeSet::new(),
        };
        if misbehaviour == Misbehaviour::SilentAndDeaf {
            let flags = UsedFlags::new().with_no_notify(true).into_bits();
            let at = GuestAddress(placement.used + layout::USED_FLAGS);
            let told = this.memory.store(flags, at, Ordering::Release);
            told.map_err(|error| Broken::Memory(error.to_string()))?;
        }
        Ok(this)
    }

    /// The next buffer, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Buffer>, Broken> {
        let available = self.queue.iter(Arc::clone(&self.memory));
        let mut available = available.map_err(|error| Broken::Memory(error.to_string()))?;
        let Some(chain) = available.next() else {
            return Ok(None);
        };
        let head = chain.head_index();
        if head >= self.queue.size() || !self.taken.insert(head) {
            let what = format!("descriptor {head} was made available, and cannot be");
            return Err(Broken::Driver(what));
        }
        let wrong = |what: &str| Broken::Driver(format!("the buffer of descriptor {head} {what}"));
        let mut buffer = Buffer {
            head,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut goes_on = true;
        for descriptor in chain {
            let run = BusRun {
                bus: descriptor.addr().0,
                len_bytes: descriptor.len().into(),
            };
            match descriptor.is_write_only() {
                true => buffer.writable.push(run),
                false if buffer.writable.is_empty() => buffer.readable.push(run),
                false => return Err(wrong("has a part to read behind one to write")),
            }
            goes_on = descriptor.has_next();
        }
        if goes_on {
            // Or a descriptor was not reached; either way there is no end.
            return Err(Broken::Memory(format!("descriptor {head} leads nowhere")));
        }
        match buffer.readable_bytes().max(buffer.writable_bytes()) > MAX_BUFFER_BYTES {
            true => Err(wrong("is too long")),
            false => Ok(Some(buffer)),
        }
    }

    /// Gives a buffer back, of which `written` bytes were written.
    pub(super) fn give_back(&mut self, buffer: &Buffer, written: u32) -> Result<(), Broken> {
        let failed = |error: virtio_queue::Error| Broken::Memory(error.to_string());
        self.taken.remove(&buffer.head);
        let truth = UsedEntry {
            id: buffer.head.into(),
            len: written,
        };
        match self.misbehaviour.answer(truth, buffer.writable_bytes()) {
            None => Ok(()),
            Some(Answer {
                entry,
                times: 1,
                jump: 0,
            }) if entry.id == truth.id => {
                let added = self.queue.add_used(&*self.memory, buffer.head, entry.len);
                added.map_err(failed)
            }
            Some(lie) => self.add_lie(lie).map_err(failed),
        }
    }

    /// Adds what `virtio-queue` would not.
    fn add_lie(&mut self, lie: Answer) -> Result<(), virtio_queue::Error> {
        let ring = self.queue.used_ring();
        let mut next = self.queue.next_used();
        let failed = virtio_queue::Error::GuestMemory;
        for _ in 0..lie.times {
            let at = ring + layout::used_entry(next % self.queue.size());
            let written = self
                .memory
                .write_obj(lie.entry.to_words(), GuestAddress(at));
            written.map_err(failed)?;
            next = next.wrapping_add(1);
        }
        next = next.wrapping_add(lie.jump);
        self.queue.set_next_used(next);
        let at = GuestAddress(ring + layout::USED_IDX);
        let told = self.memory.store(next, at, Ordering::Release);
        told.map_err(failed)
    }

    /// The bytes that the device reads of a buffer.
    pub(super) fn read(&self, buffer: &Buffer) -> Result<Vec<u8>, Broken> {
        let mut bytes = vec![0; buffer.readable_bytes() as usize];
        let mut rest = &mut bytes[..];
        for run in &buffer.readable {
            let (part, after) = rest.split_at_mut(run.len_bytes as usize);
            self.memory.port().read(run.bus, part)?;
            rest = after;
        }
        Ok(bytes)
    }

    /// Writes `bytes` to the start of what the device writes of a buffer, as many as there is room for; how many.
    pub(super) fn write(&self, buffer: &Buffer, bytes: &[u8]) -> Result<u32, Broken> {
        let mut rest = bytes;
        for run in &buffer.writable {
            let len = rest.len().min(run.len_bytes as usize);
            let (part, after) = rest.split_at(len);
            self.memory.port().write(run.bus, part)?;
            rest = after;
        }
        Ok((bytes.len() - rest.len()) as u32)
    }

    /// The way to memory, for what lies outside of queues.
    pub(super) fn memory(&self) -> &BusMemory {
        &self.memory
    }
}

impl Buffer {
    pub(super) fn readable_bytes(&self) -> u64 {
        self.readable.iter().map(|run| run.len_bytes).sum()
    }

    pub(super) fn writable_bytes(&self) -> u64 {
        self.writable.iter().map(|run| run.len_bytes).sum()
    }
}

//! One submission or completion queue: a ring in memory and its two ends.
//!
//! Pure bookkeeping; nothing here touches memory.

/// The ends of a ring of entries. One entry always stays empty, so that a full ring is not an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Number of entries (2 to 65536).
    pub(crate) entries: u32,
    /// The entry that is taken next.
    pub(crate) head: u32,
    /// The entry that is filled next.
    pub(crate) tail: u32,
}

impl Ring {
    fn new(entries: u32) -> Self {
        Self {
            entries,
            head: 0,
            tail: 0,
        }
    }

    /// Filled entries.
    pub(crate) fn used(self) -> u32 {
        self.distance(self.head, self.tail)
    }

    /// Entries that may be filled.
    pub(crate) fn free(self) -> u32 {
        self.entries - 1 - self.used()
    }

    /// Moves the tail to `to` if that fills at least one and only free entries.
    pub(crate) fn fill_to(&mut self, to: u32) -> Result<(), Ring> {
        if to >= self.entries || !(1..=self.free()).contains(&self.distance(self.tail, to)) {
            return Err(*self);
        }
        self.tail = to;
        Ok(())
    }

    /// Moves the head to `to` if that empties at least one and only filled entries.
    pub(crate) fn empty_to(&mut self, to: u32) -> Result<(), Ring> {
        if to >= self.entries || !(1..=self.used()).contains(&self.distance(self.head, to)) {
            return Err(*self);
        }
        self.head = to;
        Ok(())
    }

    fn next(self, index: u32) -> u32 {
        (index + 1) % self.entries
    }

    /// Steps forward from one index to another.
    fn distance(self, from: u32, to: u32) -> u32 {
        (to + self.entries - from) % self.entries
    }
}

/// The bit that tells new completions from those of the previous lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The bit is 0.
    Zero,
    /// The bit is 1: the first lap's, as memory starts as zeroes.
    One,
}

impl Phase {
    /// The bit of the next lap, and of the previous one.
    pub(crate) fn inverted(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// Where commands come from. The driver fills it, the controller empties it.
#[derive(Clone, Debug)]
pub(crate) struct SubmissionQueue {
    base: u64,
    pub(crate) ring: Ring,
    /// The completion queue its commands report to.
    pub(crate) completion_queue: u16,
}

impl SubmissionQueue {
    /// An empty queue of `entries` entries at bus address `base`.
    pub(crate) fn new(base: u64, entries: u32, completion_queue: u16) -> Self {
        Self {
            base,
            ring: Ring::new(entries),
            completion_queue,
        }
    }

    /// Takes the next entry, of `entry_bytes` bytes: its bus address. It may be filled again from now on.
    pub(crate) fn take(&mut self, entry_bytes: u64) -> u64 {
        let bus = address(self.base, self.ring.head, entry_bytes);
        self.ring.head = self.ring.next(self.ring.head);
        bus
    }
}

/// Where results go. The controller fills it, the driver empties it.
#[derive(Clone, Debug)]
pub(crate) struct CompletionQueue {
    base: u64,
    pub(crate) ring: Ring,
    /// The MSI-X vector raised after each entry, if interrupts are enabled for the queue.
    pub(crate) vector: Option<u16>,
    phase: Phase,
    /// Entries promised to commands that are being executed.
    reserved: u32,
}

impl CompletionQueue {
    /// An empty queue of `entries` entries at bus address `base`.
    pub(crate) fn new(base: u64, entries: u32, vector: Option<u16>) -> Self {
        Self {
            base,
            ring: Ring::new(entries),
            vector,
            phase: Phase::One,
            reserved: 0,
        }
    }

    /// Entries that are free and promised to nobody.
    pub(crate) fn room(&self) -> u32 {
        self.ring.free().saturating_sub(self.reserved)
    }

    /// Promises an entry to a command.
    pub(crate) fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// Takes a promise back.
    pub(crate) fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Fills the next entry, of `entry_bytes` bytes: its bus address and the phase bit it must carry.
    /// `None` if the queue is full: an entry the driver did not take is never written over.
    pub(crate) fn fill(&mut self, entry_bytes: u64) -> Option<(u64, Phase)> {
        if self.ring.free() == 0 {
            return None;
        }
        let filled = (address(self.base, self.ring.tail, entry_bytes), self.phase);
        self.ring.tail = self.ring.next(self.ring.tail);
        if self.ring.tail == 0 {
            self.phase = self.phase.inverted();
        }
        Some(filled)
    }
}

fn address(base: u64, index: u32, entry_bytes: u64) -> u64 {
    base.wrapping_add(u64::from(index) * entry_bytes)
}

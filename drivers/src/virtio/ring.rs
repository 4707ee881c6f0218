//! A queue between the crate and the device: each sees its own, and what one wrote is copied to where the other sees it.
//!
//! ```text
//!   crate's descriptors, available ring ──pass_on──► the device's
//!   crate's used ring ◄──take_answers── the device's
//! ```
//!
//! So the device is told of a request only when all of it could be lent, and the crate of an answer only when it is one:
//! the crate believes the lengths and numbers it reads, and so does its caller. The crate waits until its used ring
//! changes; here it is that a wait ends ([`end_all`](Ring::end_all)).

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use dmamap::map::OutOfBounds;
use dmamap::platform::Platform;
use hw::virtio::queue::{self as layout, AvailableFlags, Descriptor, UsedEntry};

use super::error::Fault;
use super::memory::Memory;
use super::terms::{Answers, Waiting};

/// One queue at work.
pub(super) struct Ring<P: Platform> {
    platform: P,
    queue: u16,
    size: u16,
    pub(super) waiting: Waiting,
    answers: Answers,
    /// Descriptors, and the available ring at `available`.
    driver_area: Memory<P>,
    available: u64,
    /// The used ring.
    device_area: Memory<P>,
    /// The crate's available index up to which its requests were dealt with.
    seen: u16,
    /// The device's available index.
    told: u16,
    /// The device's used index up to which its answers were passed on.
    taken: u16,
    /// The crate's used index.
    answered: u16,
    /// For each descriptor at which a request begins that the device has: how many bytes it may write.
    lent: Vec<Option<u32>>,
}

/// What became of the crate's new requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedOn {
    /// Whether the device is to hear of some. It does also where it says that it need not (2.7.10): who believes that must be sure
    /// that the device looks again before it sleeps.
    pub(super) ring: bool,
    /// Whether one was not passed on, as a piece of it could not be lent.
    pub(super) refused: bool,
}

impl<P: Platform> Ring<P> {
    /// A queue of `size` entries, in use from now on; the available ring lies at byte `available` of the driver area. `None`
    /// where the areas are too short for it.
    pub(super) fn new(
        platform: P,
        (queue, size): (u16, u16),
        (waiting, answers): (Waiting, Answers),
        (driver_area, available): (Memory<P>, u64),
        device_area: Memory<P>,
    ) -> Option<Self> {
        if !size.is_power_of_two() {
            return None;
        }
        let mut lent = Vec::new();
        lent.try_reserve_exact(size.into()).ok()?;
        lent.resize(size.into(), None);
        let this = Self {
            platform,
            queue,
            size,
            waiting,
            answers,
            driver_area,
            available,
            device_area,
            seen: 0,
            told: 0,
            taken: 0,
            answered: 0,
            lent,
        };
        let last = size - 1;
        let fits = this.crates_descriptor(last).is_ok()
            && this
                .crates_available::<u16>(layout::available_entry(last))
                .is_ok()
            && this
                .device_area
                .read::<u32>(layout::used_entry(last) + 4)
                .is_ok();
        // Interrupts are not used.
        let flags = AvailableFlags::new().with_no_interrupt(true).into_bits();
        let written = this.tell(available + layout::AVAILABLE_FLAGS, flags);
        (fits && written.is_ok()).then_some(this)
    }

    /// Whether the crate gets over a request that is not passed on.
    pub(super) fn survives_refusal(&self) -> bool {
        self.answers == Answers::Any
    }

    /// Whether the device has requests that it has not answered.
    pub(super) fn is_busy(&self) -> bool {
        self.lent.iter().any(Option::is_some)
    }

    /// Tells the device of the crate's new requests, of those that it was lent whole.
    pub(super) fn pass_on(&mut self) -> PassedOn {
        let mut outcome = PassedOn::default();
        let told_before = self.told;
        while let Some(head) = self.next_request() {
            match self.pass_on_one(head) {
                Some(writable) => self.lent[usize::from(head)] = Some(writable),
                None => {
                    outcome.refused = true;
                    self.answer_nothing(head);
                }
            }
        }
        if self.told != told_before {
            // The requests are visible before the index that makes them valid.
            self.platform.dma_wmb();
            let index = self.available + layout::AVAILABLE_IDX;
            self.tell(index, self.told).expect("checked when it began");
            outcome.ring = true;
        }
        outcome
    }

    /// Passes on what the device has answered; how many answers. `Err` for what is no answer to a request it has.
    pub(super) fn take_answers(&mut self) -> Result<u16, Fault> {
        let wrong = Fault::WrongAnswer { queue: self.queue };
        let index = self.device_area.device().read_at::<u16>(layout::USED_IDX);
        let new = index.map_err(|_| wrong)?.wrapping_sub(self.taken);
        if usize::from(new) > self.lent.iter().flatten().count() {
            return Err(wrong);
        }
        if new == 0 {
            return Ok(0);
        }
        // The index is read before the entries it makes valid.
        self.platform.dma_rmb();
        for _ in 0..new {
            let at = layout::used_entry(self.taken % self.size);
            let words = self.device_area.device().read_at::<[u32; 2]>(at);
            let entry = UsedEntry::from_words(words.map_err(|_| wrong)?);
            let lent = self.lent.get_mut(entry.id as usize).ok_or(wrong)?;
            let writable = lent.ok_or(wrong)?;
            let is_empty = entry.len == 0 && self.answers == Answers::NeverEmpty;
            if entry.len > writable || is_empty {
                return Err(wrong);
            }
            // Not before: a request that is still lent is answered when the device is given up.
            *lent = None;
            self.taken = self.taken.wrapping_add(1);
            self.answer(entry);
        }
        Ok(new)
    }

    /// Answers all that the device, which was reset, has not, with no byte written: where the crate waits, its wait ends.
    pub(super) fn end_all(&mut self) {
        while let Some(head) = self.next_request() {
            self.lent[usize::from(head)] = Some(0);
        }
        for head in 0..self.size {
            if self.lent[usize::from(head)].take().is_some() {
                self.answer_nothing(head);
            }
        }
    }

    /// The first descriptor of the next request that the crate made.
    fn next_request(&mut self) -> Option<u16> {
        let index = self.crates_available::<u16>(layout::AVAILABLE_IDX).ok()?;
        if index == self.seen {
            return None;
        }
        let entry = layout::available_entry(self.seen % self.size);
        let head = self.crates_available::<u16>(entry).ok()?;
        self.seen = self.seen.wrapping_add(1);
        (head < self.size).then_some(head)
    }

    /// Copies a request to where the device sees it; how many bytes it may write. `None`, and the device does not see it,
    /// where a piece of it lies nowhere.
    fn pass_on_one(&mut self, head: u16) -> Option<u32> {
        let mut writable = 0_u32;
        let mut index = head;
        for _ in 0..self.size {
            let words = self.crates_descriptor(index).ok()?;
            let descriptor = Descriptor::from_words(words);
            if descriptor.addr == 0 {
                return None;
            }
            if descriptor.flags.write() {
                writable = writable.saturating_add(descriptor.len);
            }
            self.tell(u64::from(index) * layout::DESCRIPTOR_BYTES, words)
                .ok()?;
            if !descriptor.flags.next() {
                let slot = layout::available_entry(self.told % self.size);
                self.tell(self.available + slot, head).ok()?;
                self.told = self.told.wrapping_add(1);
                return Some(writable);
            }
            index = descriptor.next;
        }
        None
    }

    /// An answer of nothing, unless the crate does not survive one.
    fn answer_nothing(&mut self, head: u16) {
        if self.answers == Answers::Any {
            self.answer(UsedEntry {
                id: head.into(),
                len: 0,
            });
        }
    }

    /// Shows the crate an answer.
    fn answer(&mut self, entry: UsedEntry) {
        let at = layout::used_entry(self.answered % self.size);
        self.answered = self.answered.wrapping_add(1);
        let written = self.device_area.write(at, entry.to_words());
        let written = written.and_then(|()| {
            // The entry is there before the index. No device looks, but another thread may.
            fence(Ordering::Release);
            self.device_area.write(layout::USED_IDX, self.answered)
        });
        written.expect("checked when it began");
    }

    fn crates_descriptor(&self, index: u16) -> Result<[u64; 2], OutOfBounds> {
        let at = u64::from(index) * layout::DESCRIPTOR_BYTES;
        self.driver_area.read(at)
    }

    fn crates_available<T: dmamap::map::Shared>(&self, offset: u64) -> Result<T, OutOfBounds> {
        self.driver_area.read(self.available + offset)
    }

    /// Changes what the device reads at byte `at` of the driver area.
    fn tell<T: dmamap::map::Shared>(&self, at: u64, value: T) -> Result<(), OutOfBounds> {
        self.driver_area.device().write_at(at, value)
    }
}

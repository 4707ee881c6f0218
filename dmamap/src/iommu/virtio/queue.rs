//! The request queue (VIRTIO 5.13.2): requests in slots of their own, several under way at once.
//!
//! A slot is two descriptors and a piece of memory: the request, and behind it the word that the unit writes its status
//! to. Whoever waits reads the used ring for all. A submission that gave up waiting leaves its slots to the unit: they
//! are free when it gives them back, or is reset.
//!
//! A reset takes everything back that was under way. Its effect is the unit's state after the replay of what is attached
//! and mapped ([`Queue::cover`]), so that is what those who waited meanwhile are told.

use core::sync::atomic::{AtomicU64, Ordering};

use hw::virtio::iommu::REQUEST_QUEUE;
use hw::virtio::iommu::request::{Status, TAIL_BYTES, Tail};
use hw::virtio::queue::{AvailableFlags, Descriptor, DescriptorFlags};

use super::request::{Batch, MAX_BATCH, Request};
use super::ring::{Progress, QueuePlace, Ring};
use super::transport::Transport;
use crate::addr::{FRAME_BYTES, PhysAddr};
use crate::frame::HardwareFrames;
use crate::iommu::bound::{Bound, Look};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Most entries this driver uses: its ring is one frame, its slots two.
pub(super) const ENTRIES_MAX: u16 = 128;
/// Fewest entries that hold a request and a PROBE.
pub(super) const ENTRIES_MIN: u16 = 4;

const SLOTS_MAX: usize = ENTRIES_MAX as usize / 2;
const SLOT_BYTES: u64 = 128;
/// Offset of the status in a slot.
const TAIL: u64 = SLOT_BYTES - TAIL_BYTES;

const _: () = assert!(Ring::new(ENTRIES_MAX).len_bytes() <= FRAME_BYTES);
const _: () = assert!(SLOTS_MAX as u64 * SLOT_BYTES <= 2 * FRAME_BYTES);
const _: () = assert!(super::request::WORDS_MAX as u64 * 4 <= TAIL);

/// How many polls of the used ring pass between looks at the device's status, which costs a register access each.
const POLLS_PER_STATUS_CHECK: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    /// The unit has it, and somebody waits.
    Pending,
    /// Answered, and somebody waits.
    Answered(u8),
    /// The unit has it, and nobody waits any more.
    Orphan,
}

struct State {
    progress: Progress,
    slots: [Slot; SLOTS_MAX],
    /// Counts resets.
    epoch: u64,
    /// The last epoch whose state has been replayed. Until the one that is now has been, only the replay asks anything:
    /// a request of somebody else would meet domains that are not there yet, and what counts as told not be told.
    covered: u64,
    /// Whether the unit is suspended, until it was told everything again.
    asleep: bool,
    /// What made the queue useless, until the next reset.
    broken: Option<&'static str>,
}

/// The queue of one unit.
pub(super) struct Queue<P: Platform> {
    ring: Ring,
    frames: HardwareFrames<P>,
    /// Where PROBE's properties and status are written.
    properties: Option<(HardwareFrames<P>, u32)>,
    state: lock_api::Mutex<P::Lock, State>,
    unmapped: AtomicU64,
}

/// Requests under way, and who waits for them.
#[must_use = "its slots are taken until it was waited for"]
pub(super) struct Submission {
    slots: [u8; MAX_BATCH],
    len: usize,
    epoch: u64,
}

/// Between which two resets of the unit something happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Submission {
    /// When it was handed to the unit.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

/// What a wait needs.
pub(super) struct Ports<'a, P: Platform> {
    pub(super) transport: &'a dyn Transport<P>,
    pub(super) bound: &'a Bound<P>,
    pub(super) asker: Asker,
}

/// On whose behalf requests are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody who attaches, maps, unmaps, detaches.
    Anybody,
    /// A restart, which tells the unit again what is attached and mapped.
    Replay,
}

impl<P: Platform> Queue<P> {
    /// An empty queue of `entries`, a power of 2 between [`ENTRIES_MIN`] and [`ENTRIES_MAX`], in memory of its own;
    /// with room for `probe_size` bytes of properties where the unit answers PROBE.
    pub(super) fn new(
        platform: P,
        entries: u16,
        probe_size: Option<u32>,
    ) -> Result<Self, OutOfFrames> {
        let snooped = WalkCoherence::Snooped;
        let frames = HardwareFrames::allocate(platform, 3, snooped)?;
        let properties = probe_size.map(|len_bytes| {
            let needed = (u64::from(len_bytes) + TAIL_BYTES).div_ceil(FRAME_BYTES);
            HardwareFrames::allocate(platform, needed as usize, snooped)
                .map(|frames| (frames, len_bytes))
        });
        let properties = match properties.transpose() {
            Ok(properties) => properties,
            Err(error) => {
                // SAFETY: the unit has not been told of these frames.
                unsafe { frames.free() };
                return Err(error);
            }
        };
        let this = Self {
            ring: Ring::new(entries),
            frames,
            properties,
            state: lock_api::Mutex::new(State {
                progress: Progress::default(),
                slots: [Slot::Free; SLOTS_MAX],
                epoch: 0,
                asleep: false,
                covered: 0,
                broken: None,
            }),
            unmapped: AtomicU64::new(0),
        };
        this.clear();
        Ok(this)
    }

    fn clear(&self) {
        let silent = AvailableFlags::new().with_no_interrupt(true);
        self.ring.clear(&self.frames, silent);
    }

    /// What the unit is told.
    pub(super) fn place(&self) -> QueuePlace {
        self.ring.place(&self.frames)
    }

    /// Requests to unmap that the unit has done.
    pub(super) fn unmapped(&self) -> u64 {
        self.unmapped.load(Ordering::Relaxed)
    }

    pub(super) fn count_unmapped(&self, requests: usize) {
        self.unmapped.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// The number of slots; the last is PROBE's.
    fn slots(&self) -> usize {
        usize::from(self.ring.size()) / 2
    }

    /// Most requests that can be under way at once in one submission.
    pub(super) fn capacity(&self) -> usize {
        MAX_BATCH.min(self.slots() - 1)
    }

    fn slot_at(slot: usize) -> u64 {
        FRAME_BYTES + slot as u64 * SLOT_BYTES
    }

    /// Hands `batch` to the unit, without waiting for anything; `None` if there is no room now. Whoever holds a lock
    /// over what the requests are about decides their order by this.
    pub(super) fn enqueue(&self, ports: &Ports<'_, P>, batch: &Batch) -> Option<Submission> {
        let requests = batch.as_slice();
        let mut state = self.state.lock();
        if state.covered != state.epoch && ports.asker == Asker::Anybody {
            return None;
        }
        let mut submission = Submission {
            slots: [0; MAX_BATCH],
            len: requests.len(),
            epoch: state.epoch,
        };
        if requests.is_empty() {
            // There was nothing left to ask: the unit has been told, if not by the one who asks.
            return Some(submission);
        }
        let free = (0..self.slots() - 1).filter(|&slot| state.slots[slot] == Slot::Free);
        let found = free
            .zip(&mut submission.slots[..requests.len()])
            .map(|(slot, taken)| *taken = slot as u8)
            .count();
        if found < requests.len() {
            return None;
        }
        for (request, slot) in requests.iter().zip(submission.slots) {
            let slot = usize::from(slot);
            let at = self.frames.phys().as_u64() + Self::slot_at(slot);
            let tail = (PhysAddr::new(at + TAIL), TAIL_BYTES as u32);
            self.offer(&mut state, slot, request, tail);
        }
        self.ring.publish(&self.frames, &state.progress);
        // Under the lock: a reset does not come between.
        ports.transport.notify(REQUEST_QUEUE);
        Some(submission)
    }

    fn offer(
        &self,
        state: &mut State,
        slot: usize,
        request: &Request,
        (reply, reply_bytes): (PhysAddr, u32),
    ) {
        let offset = Self::slot_at(slot);
        for (pair, at) in request.words().chunks(2).zip(offset as usize / 8..) {
            let high = pair.get(1).copied().unwrap_or(0);
            self.frames
                .store(at, u64::from(pair[0]) | u64::from(high) << 32);
        }
        let head = slot as u16 * 2;
        let read = Descriptor {
            addr: self.frames.phys().as_u64() + offset,
            len: request.words().len() as u32 * 4,
            flags: DescriptorFlags::new().with_next(true),
            next: head + 1,
        };
        let write = Descriptor {
            addr: reply.as_u64(),
            len: reply_bytes,
            flags: DescriptorFlags::new().with_write(true),
            next: 0,
        };
        self.ring.describe(&self.frames, head, read);
        self.ring.describe(&self.frames, head + 1, write);
        self.ring.offer(&self.frames, &mut state.progress, head);
        state.slots[slot] = Slot::Pending;
    }

    /// Waits until `enqueue` finds room.
    pub(super) fn wait_for_room<R>(
        &self,
        ports: &Ports<'_, P>,
        command: &'static str,
        mut enqueue: impl FnMut() -> Option<R>,
    ) -> Result<R, UnitError> {
        let deadline_ns = ports.bound.deadline_ns();
        ports.bound.look_until(deadline_ns, command, |_| {
            if let Some(enqueued) = enqueue() {
                return Ok(Some(enqueued));
            }
            self.check_device(ports)?;
            let mut state = self.state.lock();
            self.reap(&mut state);
            self.check(ports, &state).map(|()| None)
        })
    }

    /// Waits until the unit has answered all of `submission`.
    ///
    /// # Errors
    /// [`UnitError::Refused`] with the first status that is not good. [`UnitError::TimedOut`] and
    /// [`UnitError::QueueStopped`]: then it is not known what was done.
    pub(super) fn wait(
        &self,
        ports: &Ports<'_, P>,
        submission: Submission,
        command: &'static str,
    ) -> Result<(), UnitError> {
        ports.expect_ok(self.answer(ports, submission, command)?, command)
    }

    /// As [`wait`](Self::wait), for whoever can do with another status: the first that is not good, or the good one.
    /// `None` for one that the manual does not have.
    pub(super) fn answer(
        &self,
        ports: &Ports<'_, P>,
        submission: Submission,
        command: &'static str,
    ) -> Result<Option<Status>, UnitError> {
        let deadline_ns = ports.bound.deadline_ns();
        let mut polls = 0_u32;
        let answered = ports.bound.look_until(deadline_ns, command, |look| {
            if look == Look::Last {
                self.check_device(ports)?;
            }
            {
                let mut state = self.state.lock();
                self.reap(&mut state);
                if let Some(status) = self.take_answers(&mut state, &submission) {
                    return Ok(Some(Status::from_code(status)));
                }
                self.check(ports, &state)?;
            }
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS_PER_STATUS_CHECK) {
                self.check_device(ports)?;
            }
            Ok(None)
        });
        answered.inspect_err(|_| self.abandon(&submission))
    }

    /// The first status that is not good, or the good one, once all were answered: then the slots are free.
    fn take_answers(&self, state: &mut State, submission: &Submission) -> Option<u8> {
        if submission.epoch != state.epoch {
            // The slots went with the reset.
            return (submission.epoch < state.covered).then_some(Status::Ok.code());
        }
        let slots = &submission.slots[..submission.len];
        let mut status = Status::Ok.code();
        for slot in slots {
            match state.slots[usize::from(*slot)] {
                Slot::Answered(answer) if status == Status::Ok.code() => status = answer,
                Slot::Answered(_) => {}
                _ => return None,
            }
        }
        for slot in slots {
            // PROBE's is taken until its answer was read.
            if usize::from(*slot) != self.slots() - 1 {
                state.slots[usize::from(*slot)] = Slot::Free;
            }
        }
        Some(status)
    }

    fn abandon(&self, submission: &Submission) {
        let mut state = self.state.lock();
        if submission.epoch != state.epoch {
            return;
        }
        for slot in &submission.slots[..submission.len] {
            let slot = &mut state.slots[usize::from(*slot)];
            *slot = match slot {
                Slot::Pending => Slot::Orphan,
                _ => Slot::Free,
            };
        }
    }

    /// Reads the used ring. What it says is checked: the unit may be broken.
    fn reap(&self, state: &mut State) {
        // At most what the ring holds: a unit that counts on without end holds nobody up.
        for _ in 0..self.ring.size() {
            let Some(used) = self.ring.next_used(&self.frames, &mut state.progress) else {
                return;
            };
            let slot = used.id as usize / 2;
            let known = used.id.is_multiple_of(2) && slot < self.slots();
            match known.then(|| state.slots[slot]) {
                Some(Slot::Pending) => state.slots[slot] = Slot::Answered(self.status_of(slot)),
                Some(Slot::Orphan) => state.slots[slot] = Slot::Free,
                _ => {
                    state.broken = Some("its used ring names a request that is not under way");
                    return;
                }
            }
        }
    }

    fn status_of(&self, slot: usize) -> u8 {
        let word = match &self.properties {
            Some((frames, len_bytes)) if slot == self.slots() - 1 => {
                read_unaligned(frames, u64::from(*len_bytes))
            }
            _ => self
                .frames
                .load_u32(((Self::slot_at(slot) + TAIL) / 4) as usize),
        };
        Tail::from_bits(word).status()
    }

    fn check(&self, ports: &Ports<'_, P>, state: &State) -> Result<(), UnitError> {
        if state.asleep && ports.asker == Asker::Anybody {
            return Err(UnitError::Asleep {
                unit: ports.bound.unit(),
            });
        }
        state
            .broken
            .map_or(Ok(()), |reason| Err(ports.stopped(state, reason)))
    }

    fn check_device(&self, ports: &Ports<'_, P>) -> Result<(), UnitError> {
        if ports.transport.status().device_needs_reset() {
            let state = self.state.lock();
            return Err(ports.stopped(&state, "the device needs a reset"));
        }
        Ok(())
    }

    /// Asks for the properties of `endpoint`, and shows them to `read`, in words of 32 bits.
    pub(super) fn probe(
        &self,
        ports: &Ports<'_, P>,
        endpoint: u32,
        read: impl FnOnce(&mut dyn Iterator<Item = u32>),
    ) -> Result<(), UnitError> {
        const COMMAND: &str = "PROBE";
        let Some((frames, len_bytes)) = &self.properties else {
            return Ok(());
        };
        let slot = self.slots() - 1;
        let submission = self.wait_for_room(ports, COMMAND, || {
            let mut state = self.state.lock();
            if state.slots[slot] != Slot::Free || state.covered != state.epoch {
                return None;
            }
            let reply = (frames.phys(), len_bytes + TAIL_BYTES as u32);
            self.offer(&mut state, slot, &Request::probe(endpoint), reply);
            self.ring.publish(&self.frames, &state.progress);
            ports.transport.notify(REQUEST_QUEUE);
            let mut slots = [0; MAX_BATCH];
            slots[0] = slot as u8;
            Some(Submission {
                slots,
                len: 1,
                epoch: state.epoch,
            })
        })?;
        let epoch = submission.epoch;
        let answered = self.wait(ports, submission, COMMAND);
        if answered.is_ok() {
            let words = *len_bytes as usize / 4;
            read(&mut (0..words).map(|index| frames.load_u32(index)));
        }
        // Only now the next may ask: its answer lies in the same memory.
        let mut state = self.state.lock();
        if state.epoch == epoch && matches!(state.slots[slot], Slot::Answered(_)) {
            state.slots[slot] = Slot::Free;
        }
        answered
    }

    /// The unit is about to be reset: nobody asks it anything, and who waits goes on waiting until
    /// [`cover`](Self::cover).
    pub(super) fn hold(&self) {
        self.state.lock().epoch += 1;
    }

    /// Whether the unit was not reset since, nor is about to be.
    pub(super) fn is_now(&self, submitted: Epoch) -> bool {
        self.state.lock().epoch == submitted.0
    }

    /// The unit was reset and has let go of everything: the queue is as new.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        state.progress = Progress::default();
        state.slots = [Slot::Free; SLOTS_MAX];
        state.broken = None;
        self.clear();
    }

    /// What was under way before the last reset is done: the unit has been told the state it was to lead to.
    pub(super) fn cover(&self) {
        let mut state = self.state.lock();
        state.covered = state.epoch;
        state.asleep = false;
    }

    /// The unit is not going to answer: nobody asks it anything, nor waits, until [`cover`](Self::cover).
    pub(super) fn sleep(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.asleep = true;
    }

    /// Gives the queue's memory back.
    ///
    /// # Safety
    /// The unit neither reads nor writes it any more.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go of all.
        unsafe {
            self.frames.free();
            if let Some((frames, _)) = self.properties {
                frames.free();
            }
        }
    }
}

/// The 32-bit word at any offset.
fn read_unaligned<P: Platform>(frames: &HardwareFrames<P>, offset: u64) -> u32 {
    let (index, shift) = ((offset / 4) as usize, offset % 4 * 8);
    let low = u64::from(frames.load_u32(index));
    let high = if shift == 0 {
        0
    } else {
        u64::from(frames.load_u32(index + 1))
    };
    ((low | high << 32) >> shift) as u32
}

impl<P: Platform> Ports<'_, P> {
    /// # Errors
    /// [`UnitError::Refused`] for every status but the good one.
    pub(super) fn expect_ok(
        &self,
        status: Option<Status>,
        command: &'static str,
    ) -> Result<(), UnitError> {
        match status {
            Some(Status::Ok) => Ok(()),
            status => Err(UnitError::Refused {
                unit: self.bound.unit(),
                command,
                reason: status.map_or("unknown status", Status::text),
            }),
        }
    }

    fn stopped(&self, state: &State, reason: &'static str) -> UnitError {
        UnitError::QueueStopped {
            unit: self.bound.unit(),
            entry: state.progress.used().into(),
            reason,
        }
    }
}

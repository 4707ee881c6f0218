//! A unit's command queue: a ring in memory that the CPU fills and the unit empties, and the fence that tells
//! when what was asked is done.
//!
//! All units that walk tables have one: VT-d's invalidation queue, AMD's command buffer, the command queues of SMMUv3 and
//! RISC-V. (A virtio-iommu is asked by a virtqueue.)
//! What differs are registers and words ([`RingPorts`]); who may write where, when the ring is full, and how a
//! submission learns that it is over is the same.
//!
//! Each submission is followed by a fence, which those of several CPUs share when they come while the unit is busy
//! with earlier ones ([`fence_group`](crate::iommu::fence_group)). Where a fence can write memory it writes its number to one
//! status word: fences complete in order, so a submission is done as soon as the status word has reached the
//! number of its fence, and one that gave up waiting leaves nothing behind that a later one could mistake for its own. Where
//! it cannot ([`FenceSign::Head`]), a submission is done when the unit has read past its fence.
//!
//! The lock is held to write commands and fences, and to look how far the unit is; never while somebody waits for it.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::addr::{FRAME_BYTES, PhysAddr};
use crate::frame::HardwareFrames;
use crate::iommu::bound::{Bound, Look};
use crate::iommu::fence_group::{Groups, Patience, Ticket};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

pub(crate) use crate::iommu::command_batch::Batch;

/// Most commands of one submission, its fence not counted.
pub(crate) const MAX_BATCH: usize = 8;

/// How many polls of the status word pass between looks at the error register, which costs a register
/// access each.
const POLLS_PER_ERROR_CHECK: u32 = 64;

/// Why a unit reads no commands whose registers read as all ones. To wait for it, command by command, would last for
/// ever.
pub(crate) const GONE: &str = "its registers read as all ones, so it is gone";

/// One command: two 64-bit words in every vendor's queue. Wider entries have zeroes after them.
pub(crate) type Command = [u64; 2];

/// How a fence shows that it, and all before it, is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FenceSign {
    /// It writes a number to memory.
    StatusWord,
    /// The unit's head has moved past it.
    Head,
}

/// What differs between the units' rings.
pub(crate) trait RingPorts<P: Platform> {
    /// The bound of waits on the unit.
    fn bound(&self) -> &Bound<P>;

    /// Index of the entry the unit reads next; `None` if its register reads as all ones, which is nobody's answer.
    fn read_head(&self) -> Option<u32>;

    /// Tells the unit of all entries before `tail`, which counts on a circle of twice the ring's entries, so that
    /// its highest bit is the wrap flag of units that have one. What was stored before is visible to the unit first.
    fn publish_tail(&self, tail: u32);

    /// The command that ends a group of submissions; where the ring's sign is [`FenceSign::StatusWord`] it writes the
    /// 32-bit `number` to `status`.
    fn fence(&self, number: u32, status: PhysAddr) -> Command;

    /// Whether the unit has stopped reading, or is not there any more ([`GONE`]).
    ///
    /// # Errors
    /// [`UnitError::QueueStopped`] then.
    fn check(&self) -> Result<(), UnitError>;
}

struct Ring {
    /// Next entry to write, on a circle of twice the entries.
    tail: u32,
    /// Entries written since the ring was made.
    written: u64,
    /// How many of them the unit is known to have read, or was reset before it did.
    read: u64,
    /// Whether whoever wants to submit waits until the queue is on.
    held: bool,
    groups: Groups,
}

impl Ring {
    /// Entries that the unit may still have to read.
    fn unread(&self) -> u64 {
        self.written - self.read
    }
}

/// The command queue of one unit.
pub(crate) struct CommandRing<P: Platform> {
    platform: P,
    entries: HardwareFrames<P>,
    status: HardwareFrames<P>,
    /// 64-bit words of an entry.
    entry_words: usize,
    /// Number of entries, a power of two.
    count: u32,
    sign: FenceSign,
    ring: lock_api::Mutex<P::Lock, Ring>,
    /// The number of the last fence in the ring.
    fenced: AtomicU32,
    completed: AtomicU64,
    /// [`Ring::written`] at the last reset.
    cut: AtomicU64,
    /// Submissions up to here need not be waited for.
    covered: AtomicU64,
    /// Whether the unit is suspended.
    asleep: AtomicBool,
}

impl<P: Platform> CommandRing<P> {
    /// An empty ring of one frame, of entries of `entry_bytes` (16 or more, a power of two). `coherence` says how
    /// the unit fetches from it and writes status words.
    ///
    /// # Errors
    /// [`OutOfFrames`].
    pub(crate) fn new(
        platform: P,
        entry_bytes: u64,
        sign: FenceSign,
        coherence: WalkCoherence,
    ) -> Result<Self, OutOfFrames> {
        let entries = HardwareFrames::allocate(platform, 1, coherence)?;
        let status = match HardwareFrames::allocate(platform, 1, coherence) {
            Ok(status) => status,
            Err(error) => {
                // SAFETY: the unit has not been told of these frames.
                unsafe { entries.free() };
                return Err(error);
            }
        };
        let count = (FRAME_BYTES / entry_bytes) as u32;
        Ok(Self {
            platform,
            entries,
            status,
            entry_words: (entry_bytes / 8) as usize,
            count,
            sign,
            ring: lock_api::Mutex::new(Ring {
                tail: 0,
                written: 0,
                read: 0,
                held: false,
                groups: Groups::default(),
            }),
            fenced: AtomicU32::new(0),
            completed: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
        })
    }

    /// Where the unit finds the ring.
    pub(crate) fn phys(&self) -> PhysAddr {
        self.entries.phys()
    }

    /// log2 of the number of entries.
    pub(crate) fn count_log2(&self) -> u32 {
        self.count.trailing_zeros()
    }

    /// Commands completed so far.
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Lets nobody submit until [`open`](Self::open): a queue is turned off and on when it is empty. Who has submitted
    /// gets a fence at once, as nobody writes one later.
    pub(crate) fn hold(&self, ports: &impl RingPorts<P>) {
        let mut ring = self.ring.lock();
        // Not to a unit that has no power, or had none.
        if !ring.held {
            self.fence_group(&mut ring, ports, Patience::Over);
        }
        ring.held = true;
    }

    /// Empties the ring, for a unit whose queue is off: `point` tells it where the ring is, and that head and tail are
    /// 0. What was not done before will not be done; who waits for it goes on waiting until [`cover`](Self::cover).
    /// Nobody submits until [`open`](Self::open).
    pub(crate) fn reset(&self, point: impl FnOnce()) {
        // Nobody submits in between: the tail would be taken back, and the head of before be taken for one of now.
        let mut ring = self.ring.lock();
        ring.tail = 0;
        let written = ring.written;
        ring.read = written;
        ring.held = true;
        ring.groups.forget(written);
        self.cut.store(written, Ordering::Release);
        point();
    }

    /// Lets everybody submit, the queue being on.
    pub(crate) fn open(&self) {
        self.ring.lock().held = false;
        self.asleep.store(false, Ordering::Release);
    }

    /// Lets nobody submit, nor wait, until [`open`](Self::open): the unit is not going to answer.
    pub(crate) fn sleep(&self) {
        let mut ring = self.ring.lock();
        ring.held = true;
        self.asleep.store(true, Ordering::Release);
    }

    fn check_awake(&self, ports: &impl RingPorts<P>) -> Result<(), UnitError> {
        match self.asleep.load(Ordering::Acquire) {
            true => Err(UnitError::Asleep {
                unit: ports.bound().unit(),
            }),
            false => Ok(()),
        }
    }

    /// Says that everything cached before the last [`reset`](Self::reset) is gone, and with it whatever submissions of
    /// before were about.
    pub(crate) fn cover(&self) {
        let cut = self.cut.load(Ordering::Acquire);
        self.covered.store(cut, Ordering::Release);
    }

    /// Hands `commands`, at most [`MAX_BATCH`], to the unit and returns when it has done them all.
    ///
    /// # Errors
    /// [`UnitError::TimedOut`] names `what`, [`UnitError::QueueStopped`] when the unit refused a command.
    pub(crate) fn submit(
        &self,
        ports: &impl RingPorts<P>,
        commands: &[Command],
        what: &'static str,
    ) -> Result<(), UnitError> {
        debug_assert!(commands.len() <= MAX_BATCH);
        let deadline_ns = ports.bound().deadline_ns();
        let ticket = self.enqueue(ports, commands, what, deadline_ns)?;
        self.wait(ports, ticket, what, deadline_ns)?;
        self.completed
            .fetch_add(commands.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn enqueue(
        &self,
        ports: &impl RingPorts<P>,
        commands: &[Command],
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<Ticket, UnitError> {
        // With each, room for a fence: so there is some for that of the group, whoever writes it.
        let needed = commands.len() as u64 + 1;
        // One entry always stays free, as a full ring looks like an empty one to units without a wrap flag.
        let room = u64::from(self.count - 1);
        ports.bound().look_until(deadline_ns, what, |look| {
            let mut ring = self.ring.lock();
            if ring.unread() + needed > room {
                self.see_head(&mut ring, ports);
            }
            if !ring.held && ring.unread() + needed <= room {
                for &command in commands {
                    self.write(&mut ring, command);
                }
                let written = ring.written;
                let ticket = ring.groups.join(written);
                if !self.fence_group(&mut ring, ports, Patience::Left) {
                    // Another CPU will tell the unit, also of what these commands are about.
                    self.platform.dma_wmb();
                }
                return Ok(Some(ticket));
            }
            if !ring.held {
                // Whoever fills the ring may have given up, and left the unit untold.
                self.fence_group(&mut ring, ports, patience(look));
            }
            drop(ring);
            self.check_awake(ports)?;
            ports.check()?;
            Ok(None)
        })
    }

    /// Writes the fence of those who have none and tells the unit, if it is time to; whether it was.
    fn fence_group(&self, ring: &mut Ring, ports: &impl RingPorts<P>, patience: Patience) -> bool {
        self.see_fences(ring, ports);
        let end = ring.written + 1;
        let Some(number) = ring.groups.close(end, patience) else {
            return false;
        };
        self.write(ring, ports.fence(number, self.status.phys()));
        ports.publish_tail(ring.tail);
        self.fenced.store(number, Ordering::Release);
        true
    }

    fn write(&self, ring: &mut Ring, command: Command) {
        let first = (ring.tail % self.count) as usize * self.entry_words;
        for word in 0..self.entry_words {
            let value = command.get(word).copied().unwrap_or(0);
            self.entries.store(first + word, value);
        }
        ring.tail = (ring.tail + 1) % (2 * self.count);
        ring.written += 1;
    }

    /// Learns how far the unit has read.
    fn see_head(&self, ring: &mut Ring, ports: &impl RingPorts<P>) {
        let Some(head) = ports.read_head() else {
            return;
        };
        let head = head % self.count;
        // At most all entries but one are unread, so the head's place among them says how many are.
        let unread = u64::from((ring.tail + self.count - head) % self.count);
        // It only moves on, up to the tail. One elsewhere is of a unit that lost its state, or answers no more.
        if unread <= ring.unread() {
            ring.read = ring.written - unread;
        }
    }

    /// Whether the unit says that fence `number` is done, and so all before it.
    fn shows(&self, number: u32) -> bool {
        self.status.refresh(0, size_of::<u32>());
        reached(self.status.load_u32(0), number)
    }

    /// Learns which fences are done, as far as that decides when the next is written.
    fn see_fences(&self, ring: &mut Ring, ports: &impl RingPorts<P>) {
        if ring.groups.is_one_under_way_at_most() {
            return;
        }
        match self.sign {
            FenceSign::StatusWord => ring.groups.see(|fence| self.shows(fence.number)),
            FenceSign::Head => {
                self.see_head(ring, ports);
                let read = ring.read;
                ring.groups.see(|fence| fence.end <= read);
            }
        }
    }

    fn is_done(&self, ports: &impl RingPorts<P>, ticket: Ticket) -> bool {
        let shown = match self.sign {
            FenceSign::StatusWord => self.shows(ticket.number),
            FenceSign::Head => {
                let mut ring = self.ring.lock();
                if !ring.groups.is_over(ticket) {
                    self.see_head(&mut ring, ports);
                    let read = ring.read;
                    ring.groups.see(|fence| fence.end <= read);
                }
                ring.groups.is_over(ticket)
            }
        };
        // Only then, as the ring may have been reset meanwhile: what it shows since is about later submissions.
        if ticket.end <= self.cut.load(Ordering::Acquire) {
            return ticket.end <= self.covered.load(Ordering::Acquire);
        }
        shown
    }

    /// Has the fence written that `ticket` waits for, if it is not there and it is time to. Whoever waits does so:
    /// whoever else could may be what an interrupt handler, which waits, has interrupted.
    fn see_to_fence(&self, ports: &impl RingPorts<P>, ticket: Ticket, patience: Patience) {
        let fenced = self.fenced.load(Ordering::Acquire);
        if reached(fenced, ticket.number) {
            return;
        }
        let may_be_due = match self.sign {
            FenceSign::StatusWord => self.shows(fenced.wrapping_sub(1)),
            FenceSign::Head => true,
        };
        if may_be_due || patience == Patience::Over {
            let mut ring = self.ring.lock();
            if !ring.held && ring.groups.is_open_for(ticket) {
                self.fence_group(&mut ring, ports, patience);
            }
        }
    }

    fn wait(
        &self,
        ports: &impl RingPorts<P>,
        ticket: Ticket,
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<(), UnitError> {
        let mut polls = 0u32;
        ports.bound().look_until(deadline_ns, what, |look| {
            if self.is_done(ports, ticket) {
                return Ok(Some(()));
            }
            polls = polls.wrapping_add(1);
            self.check_awake(ports)?;
            self.see_to_fence(ports, ticket, patience(look));
            if polls.is_multiple_of(POLLS_PER_ERROR_CHECK) {
                ports.check()?;
            }
            if look != Look::Last {
                return Ok(None);
            }
            // A register that is read makes visible what the unit wrote before it answers.
            ports.check()?;
            Ok(self.is_done(ports, ticket).then_some(()))
        })
    }

    /// Gives the ring's memory back.
    ///
    /// # Safety
    /// The unit no longer fetches from the ring nor writes its status.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go of both.
        unsafe {
            self.entries.free();
            self.status.free();
        }
    }
}

/// How long whoever looks goes on sharing: a unit that has not got on in half of the time any wait may last may have
/// dropped the fences that a group waits behind.
fn patience(look: Look) -> Patience {
    match look {
        Look::Early => Patience::Left,
        Look::Late | Look::Last => Patience::Over,
    }
}

/// Whether `number` is not after `now`, on a circle of 2^32 numbers of which at most a ring of them are under way.
fn reached(now: u32, number: u32) -> bool {
    now.wrapping_sub(number) as i32 >= 0
}

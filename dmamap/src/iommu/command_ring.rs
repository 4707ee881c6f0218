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
//!
//! | part | what it is |
//! |---|---|
//! | `ports` | what differs between units |
//! | `submit` | submitting, and waiting |

mod ports;
mod submit;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::addr::{FRAME_BYTES, PhysAddr};
use crate::apart::Apart;
use crate::frame::HardwareFrames;
use crate::iommu::fence_group::{Groups, Patience};
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

pub(crate) use crate::iommu::command_batch::{Batch, Commands};
pub(crate) use ports::{Command, FenceSign, GONE, RingPorts};

/// Most commands of one submission, its fence not counted.
pub(crate) const MAX_BATCH: usize = 8;

struct Ring {
    /// Entries written since the ring was made.
    written: u64,
    /// How many there were at the last reset, behind which the unit was told to begin.
    start: u64,
    /// How many of [these](Self::written) the unit is known to have read, or was reset before it did.
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

    /// How many entries were written since the last reset, modulo 2^32: the next goes to that place, modulo the ring's
    /// entries.
    fn tail(&self) -> u32 {
        (self.written - self.start) as u32
    }
}

/// What each submission writes.
struct Hot<P: Platform> {
    ring: lock_api::Mutex<P::Lock, Ring>,
    /// The number of the last fence in the ring.
    fenced: AtomicU32,
    /// Commands that are done.
    completed: AtomicU64,
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
    hot: Apart<Hot<P>>,
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
            hot: Apart(Hot {
                ring: lock_api::Mutex::new(Ring {
                    written: 0,
                    start: 0,
                    read: 0,
                    held: false,
                    groups: Groups::default(),
                }),
                fenced: AtomicU32::new(0),
                completed: AtomicU64::new(0),
            }),
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
        self.hot.completed.load(Ordering::Relaxed)
    }

    /// Lets nobody submit until [`open`](Self::open): a queue is turned off and on when it is empty. Who has submitted
    /// gets a fence at once, as nobody writes one later.
    pub(crate) fn hold(&self, ports: &impl RingPorts<P>) {
        let mut ring = self.hot.ring.lock();
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
        let mut ring = self.hot.ring.lock();
        let written = ring.written;
        ring.start = written;
        ring.read = written;
        ring.held = true;
        ring.groups.forget(written);
        self.cut.store(written, Ordering::Release);
        point();
    }

    /// Lets everybody submit, the queue being on.
    pub(crate) fn open(&self) {
        self.hot.ring.lock().held = false;
        self.asleep.store(false, Ordering::Release);
    }

    /// Lets nobody submit, nor wait, until [`open`](Self::open): the unit is not going to answer.
    pub(crate) fn sleep(&self) {
        let mut ring = self.hot.ring.lock();
        ring.held = true;
        self.asleep.store(true, Ordering::Release);
    }

    /// Says that everything cached before the last [`reset`](Self::reset) is gone, and with it whatever submissions of
    /// before were about.
    pub(crate) fn cover(&self) {
        let cut = self.cut.load(Ordering::Acquire);
        self.covered.store(cut, Ordering::Release);
    }

    /// Writes the fence of those who have none and tells the unit, if it is time to; whether it was.
    #[inline(never)]
    fn fence_group<R: RingPorts<P>>(&self, ring: &mut Ring, ports: &R, patience: Patience) -> bool {
        self.fence_group_inline(ring, ports, patience)
    }

    /// The same, for the way of most.
    #[inline(always)]
    fn fence_group_inline<R: RingPorts<P>>(
        &self,
        ring: &mut Ring,
        ports: &R,
        patience: Patience,
    ) -> bool {
        self.see_fences(ring, ports);
        let end = ring.written + 1;
        let Some(number) = ring.groups.close(end, patience) else {
            return false;
        };
        self.write(ring, ports.fence(number, self.status.phys()));
        ports.publish_tail(ring.tail() & (2 * self.count - 1));
        self.hot.fenced.store(number, Ordering::Release);
        true
    }

    #[inline]
    fn write(&self, ring: &mut Ring, command: Command) {
        // What is behind a command in a wider entry has been zero since the ring was made.
        let place = (ring.tail() & (self.count - 1)) as usize;
        self.entries.store_pair(place * self.entry_words, command);
        ring.written += 1;
    }

    /// Learns how far the unit has read.
    #[inline(never)]
    fn see_head(&self, ring: &mut Ring, ports: &impl RingPorts<P>) {
        let Some(head) = ports.read_head() else {
            return;
        };
        // At most all entries but one are unread, so the head's place among them says how many are.
        let unread = u64::from(ring.tail().wrapping_sub(head) & (self.count - 1));
        // It only moves on, up to the tail. One elsewhere is of a unit that lost its state, or answers no more.
        if unread <= ring.unread() {
            ring.read = ring.written - unread;
        }
    }

    /// Whether the unit says that fence `number` is done, and so all before it.
    #[inline]
    fn shows(&self, number: u32) -> bool {
        self.status.refresh(0, size_of::<u32>());
        reached(self.status.load_u32(0), number)
    }

    /// Learns which fences are done, as far as that decides when the next is written.
    #[inline]
    fn see_fences<R: RingPorts<P>>(&self, ring: &mut Ring, ports: &R) {
        if ring.groups.is_one_under_way_at_most() {
            return;
        }
        match R::SIGN {
            FenceSign::StatusWord => ring.groups.see(|fence| self.shows(fence.number)),
            FenceSign::Head => self.see_fences_by_head(ring, ports),
        }
    }

    /// Learns from how far the unit has read which fences are done.
    #[inline(never)]
    fn see_fences_by_head(&self, ring: &mut Ring, ports: &impl RingPorts<P>) {
        self.see_head(ring, ports);
        let read = ring.read;
        ring.groups.see(|fence| fence.end <= read);
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

/// Whether `number` is not after `now`, on a circle of 2^32 numbers of which at most a ring of them are under way.
fn reached(now: u32, number: u32) -> bool {
    now.wrapping_sub(number) as i32 >= 0
}

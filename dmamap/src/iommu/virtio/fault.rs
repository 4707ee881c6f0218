//! The event queue (VIRTIO 5.13.6.9): buffers kept posted, reports read from them in order.

use core::sync::atomic::Ordering;

use hw::virtio::iommu::EVENT_QUEUE;
use hw::virtio::iommu::fault::{FAULT_BYTES, Fault as Report, FaultReason as Reason};
use hw::virtio::queue::{AvailableFlags, Descriptor, DescriptorFlags};

use super::VirtioUnit;
use super::ring::{Progress, QueuePlace, Ring};
use super::transport::Transport;
use crate::addr::{BusAddr, FRAME_BYTES, PhysAddr};
use crate::frame::HardwareFrames;
use crate::iommu::fault::{Access, Fault, FaultLog, FaultReason};
use crate::iommu::fault_event::{FaultEvent, FaultSource, Pending};
use crate::iommu::stream::StreamNames;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Most entries this driver uses: the ring and its buffers are one frame.
pub(super) const ENTRIES_MAX: u16 = 64;

/// Bytes from one buffer to the next.
const BUFFER_BYTES: u64 = 32;
/// Offset of the first buffer.
const BUFFERS: u64 = FRAME_BYTES - ENTRIES_MAX as u64 * BUFFER_BYTES;

const _: () = assert!(Ring::new(ENTRIES_MAX).len_bytes() <= BUFFERS);

/// Turns of the ring read before the CPU is given back.
const TURNS: u32 = 4;

/// The queue of one unit.
pub(super) struct EventQueue<P: Platform> {
    ring: Ring,
    frames: HardwareFrames<P>,
    /// Reports are read by one at a time.
    state: lock_api::Mutex<P::Lock, State>,
}

struct State {
    progress: Progress,
    /// Bit n: the unit has buffer n.
    posted: u64,
}

impl<P: Platform> EventQueue<P> {
    /// A queue of `entries`, a power of 2 up to [`ENTRIES_MAX`], in memory of its own, with every buffer posted.
    pub(super) fn new(platform: P, entries: u16) -> Result<Self, OutOfFrames> {
        let this = Self {
            ring: Ring::new(entries),
            frames: HardwareFrames::allocate(platform, 1, WalkCoherence::Snooped)?,
            state: lock_api::Mutex::new(State {
                progress: Progress::default(),
                posted: 0,
            }),
        };
        this.reset(AvailableFlags::new());
        Ok(this)
    }

    /// What the unit is told.
    pub(super) fn place(&self) -> QueuePlace {
        self.ring.place(&self.frames)
    }

    /// The unit was reset, or knows nothing of the queue: every buffer is posted anew. `flags` tell whether interrupts
    /// are wanted.
    pub(super) fn reset(&self, flags: AvailableFlags) {
        let mut state = self.state.lock();
        state.progress = Progress::default();
        state.posted = 0;
        self.ring.clear(&self.frames, flags);
        for index in 0..self.ring.size() {
            self.post(&mut state, index);
        }
        self.ring.publish(&self.frames, &state.progress);
    }

    fn post(&self, state: &mut State, index: u16) {
        let buffer = Descriptor {
            addr: self.frames.phys().as_u64() + BUFFERS + u64::from(index) * BUFFER_BYTES,
            len: FAULT_BYTES as u32,
            flags: DescriptorFlags::new().with_write(true),
            next: 0,
        };
        self.ring.describe(&self.frames, index, buffer);
        self.ring.offer(&self.frames, &mut state.progress, index);
        state.posted |= 1 << index;
    }

    /// Calls `each` with every report there is, and posts their buffers again; gives up after a while.
    pub(super) fn read(
        &self,
        transport: &dyn Transport<P>,
        mut each: impl FnMut(Report),
    ) -> Pending {
        let mut state = self.state.lock();
        let size = self.ring.size();
        for _ in 0..TURNS {
            let mut read = 0;
            while read < size
                && let Some(used) = self.ring.next_used(&self.frames, &mut state.progress)
            {
                read += 1;
                let index = used.id as u16;
                let ours = used.id < size.into() && state.posted >> index & 1 != 0;
                if !ours {
                    // A unit that names a buffer it does not have loses a report.
                    continue;
                }
                state.posted &= !(1 << index);
                if u64::from(used.len) >= FAULT_BYTES {
                    each(self.report(index));
                }
                self.post(&mut state, index);
            }
            if read == 0 {
                return Pending::Nothing;
            }
            self.ring.publish(&self.frames, &state.progress);
            transport.notify(EVENT_QUEUE);
        }
        Pending::More
    }

    fn report(&self, index: u16) -> Report {
        let first = ((BUFFERS + u64::from(index) * BUFFER_BYTES) / 4) as usize;
        Report::from_words(core::array::from_fn(|word| {
            self.frames.load_u32(first + word)
        }))
    }

    /// Gives the queue's memory back.
    ///
    /// # Safety
    /// The unit neither reads nor writes it any more.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go of it.
        unsafe { self.frames.free() };
    }
}

impl<P: Platform> FaultSource<P> for VirtioUnit<P> {
    fn fault_event(&self) -> &FaultEvent<P> {
        &self.event
    }

    fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        if self.off.load(Ordering::Acquire) {
            // It is in its reset state, and takes no notification.
            return Pending::Nothing;
        }
        let unit = self.bound.unit();
        self.running.events.read(&*self.transport, |report| {
            log.record(describe(unit, &self.streams, report));
        })
    }
}

fn describe(unit: PhysAddr, streams: &StreamNames, report: Report) -> Fault {
    let reason = Reason::from_code(report.reason);
    Fault {
        unit,
        requester: streams.requester_of(report.endpoint),
        address: BusAddr::new(if report.flags.address() {
            report.address & !(FRAME_BYTES - 1)
        } else {
            0
        }),
        access: match (report.flags.read(), report.flags.write()) {
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            // QEMU says it only of mappings that grant the other.
            _ => Access::Unknown,
        },
        reason: FaultReason {
            code: report.reason.into(),
            text: reason.map_or("unknown reason", Reason::text),
        },
    }
}

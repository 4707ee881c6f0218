//! The event queue (3.5, 7.2 to 7.4): records of terminated requests, read and given back in order.

use hw::smmu::event::{EventKind, EventRecord, RECORD_BYTES, RECORD_WORDS};
use hw::smmu::regs::{self, Gerror, QueueBase, QueueIndex};

use super::SmmuUnit;
use crate::addr::{BusAddr, FRAME_BYTES, FRAME_SIZE_LOG2};
use crate::frame::HardwareFrames;
use crate::iommu::fault::{Access, Fault, FaultLog, FaultReason};
use crate::iommu::fault_event::{FaultEvent, FaultSource, Pending};
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// log2 of the records in the one frame the queue uses.
pub(super) const LOG2_SIZE: u8 = 7;

/// Turns of the queue read before the CPU is given back.
const TURNS: u32 = 4;

/// The event queue of one unit.
pub(super) struct EventQueue<P: Platform> {
    records: HardwareFrames<P>,
    log2size: u8,
    /// Records are read by one at a time.
    consumer: lock_api::Mutex<P::Lock, QueueIndex>,
}

impl<P: Platform> EventQueue<P> {
    /// An empty queue of a frame, or less where the unit's are at most `2^limit` records.
    pub(super) fn new(
        platform: P,
        limit: u8,
        coherence: WalkCoherence,
    ) -> Result<Self, OutOfFrames> {
        debug_assert_eq!(RECORD_BYTES << LOG2_SIZE, FRAME_BYTES);
        Ok(Self {
            records: HardwareFrames::allocate(platform, 1, coherence)?,
            log2size: limit.min(LOG2_SIZE),
            consumer: lock_api::Mutex::new(QueueIndex::new()),
        })
    }

    /// What EVENTQ_BASE is set to.
    pub(super) fn base(&self) -> QueueBase {
        QueueBase::new()
            .with_log2size(self.log2size)
            .with_addr(self.records.phys().as_u64())
            .with_allocate(true)
    }

    /// Empties the queue, for a unit whose queue is off: `point` tells it where the queue is, and that its indices are
    /// 0. Nobody reads records in between: an index of before would be taken for one of now.
    pub(super) fn reset(&self, point: impl FnOnce()) {
        let mut consumer = self.consumer.lock();
        *consumer = QueueIndex::new();
        point();
    }

    fn record(&self, index: QueueIndex) -> EventRecord {
        let first = index.entry(self.log2size.into()) as usize * RECORD_WORDS;
        self.records.refresh(first * 8, RECORD_BYTES as usize);
        let mut words = [0; RECORD_WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.records.load(first + n);
        }
        EventRecord::from_words(words)
    }

    /// Gives the queue's memory back.
    ///
    /// # Safety
    /// The unit no longer writes records.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go.
        unsafe { self.records.free() };
    }
}

impl<P: Platform> FaultSource<P> for SmmuUnit<P> {
    fn fault_event(&self) -> &FaultEvent<P> {
        &self.event
    }

    fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        self.read_errors(log);
        let registers = &self.registers;
        let queue = &self.running.events;
        let mask = (2 << queue.log2size) - 1;
        let mut place = queue.consumer.lock();
        for _ in 0..TURNS {
            let producer = QueueIndex::from_bits(registers.read_u32(regs::EVENTQ_PROD));
            if producer.into_bits() == u32::MAX {
                // Nobody's answer: the unit is gone, and tells nothing any more.
                return Pending::Nothing;
            }
            let is_empty = producer.index() & mask == place.index() & mask;
            if is_empty && producer.overflow() == place.overflow() {
                return Pending::Nothing;
            }
            if producer.overflow() != place.overflow() {
                // Acknowledged with the place, below: until then records are lost without a further sign (7.4).
                log.record_overflow();
                place.set_overflow(producer.overflow());
            }
            // The index was read by an ordered access: the records it tells of are read after it.
            while place.index() & mask != producer.index() & mask {
                log.record(self.describe(queue.record(*place)));
                let next = (place.index() + 1) & mask;
                place.set_index(next);
            }
            // The unit raises its interrupt only for a queue that was empty, so whether it is must be seen after this.
            registers.write_u32(regs::EVENTQ_CONS, place.into_bits());
        }
        Pending::More
    }
}

impl<P: Platform> SmmuUnit<P> {
    /// Takes note of global errors. The command queue's stays active: the next submission reports it, and a restart
    /// of the unit acknowledges it.
    fn read_errors(&self, log: &FaultLog<P>) {
        let active = self.registers.active_errors().with_cmdq_err(false);
        if active == Gerror::new() {
            return;
        }
        let base = self.registers.base();
        if active.eventq_abt_err() {
            log.record_overflow();
        }
        if active.sfm_err() {
            log::error!("{base}: the SMMU entered service failure mode: it translates nothing");
        }
        log::warn!("{base}: SMMU global errors {:#x}", active.into_bits());
        self.registers.acknowledge(active);
    }

    fn describe(&self, record: EventRecord) -> Fault {
        let code = record.word0.kind();
        let kind = EventKind::from_code(code);
        Fault {
            unit: self.registers.base(),
            requester: self.streams.requester_of(record.word0.stream()),
            address: BusAddr::new(record.input_address).align_down(FRAME_SIZE_LOG2),
            access: match kind {
                Some(kind) if tells_access(kind) && record.word1.rnw() => Access::Read,
                Some(kind) if tells_access(kind) => Access::Write,
                _ => Access::Unknown,
            },
            reason: FaultReason {
                code: code.into(),
                text: kind.map_or("unknown reason", EventKind::text),
            },
        }
    }
}

/// Whether records of a kind tell what the request tried: those of configurations do not.
fn tells_access(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Unsupported
            | EventKind::TranslatedForbidden
            | EventKind::WalkAbort
            | EventKind::Translation
            | EventKind::AddressSize
            | EventKind::Access
            | EventKind::Permission
            | EventKind::TlbConflict
    )
}

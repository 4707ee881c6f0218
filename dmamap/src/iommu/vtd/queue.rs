//! The invalidation queue (VT-d 6.5.2): commands, and the wait that tells when they are done.
//!
//! Each submission ends with a wait descriptor that writes a sequence number to one status word. Waits
//! complete in order, so a submission is done as soon as the status word has reached its number; a
//! submission that gave up waiting leaves nothing behind that a later one could mistake for its own.

use core::sync::atomic::{AtomicU64, Ordering};

use hw::vtd::invalidation::{DESCRIPTOR_BYTES, Wait};
use hw::vtd::regs::{
    self, FaultStatus, QueueAddress, QueueErrorInfo, QueueErrorRecord, QueuePointer,
};

use super::registers::Registers;
use crate::addr::FRAME_BYTES;
use crate::frame::HardwareFrames;
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Descriptors in the one frame the queue uses (IQA.QS = 0).
const ENTRIES: u32 = (FRAME_BYTES / DESCRIPTOR_BYTES) as u32;

/// Most descriptors of one submission, its wait not counted.
pub(super) const MAX_BATCH: usize = 8;

/// How many polls of the status word pass between looks at the error register, which costs a register
/// access each.
const POLLS_PER_ERROR_CHECK: u32 = 64;

struct Ring {
    /// Next entry to write.
    tail: u32,
    /// Entries that may be written before the head must be read again; one always stays free, as a
    /// full ring looks like an empty one.
    free: u32,
    /// The number the last wait descriptor writes.
    sequence: u32,
}

/// The queue of one unit.
pub(super) struct Queue<P: Platform> {
    entries: HardwareFrames<P>,
    status: HardwareFrames<P>,
    ring: lock_api::Mutex<P::Lock, Ring>,
    completed: AtomicU64,
}

impl<P: Platform> Queue<P> {
    /// An empty queue in memory of its own.
    pub(super) fn new(platform: P) -> Result<Self, OutOfFrames> {
        // Queue fetches and status writes are snooped whatever ECAP.C says (VT-d 11.4.3, C: it covers root,
        // context, PASID and page-table accesses).
        let entries = HardwareFrames::allocate(platform, 1, WalkCoherence::Snooped)?;
        let status = match HardwareFrames::allocate(platform, 1, WalkCoherence::Snooped) {
            Ok(status) => status,
            Err(error) => {
                // SAFETY: the unit has not been told of these frames.
                unsafe { entries.free() };
                return Err(error);
            }
        };
        let ring = Ring {
            tail: 0,
            free: ENTRIES - 1,
            sequence: 0,
        };
        Ok(Self {
            entries,
            status,
            ring: lock_api::Mutex::new(ring),
            completed: AtomicU64::new(0),
        })
    }

    /// What IQA_REG is set to.
    pub(super) fn address(&self) -> QueueAddress {
        QueueAddress::new().with_iqa(self.entries.phys().as_u64())
    }

    /// Invalidation commands completed so far.
    pub(super) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Hands `commands` to the unit and returns when it has done them all.
    pub(super) fn submit(
        &self,
        registers: &Registers<P>,
        commands: &[[u64; 2]],
        what: &'static str,
    ) -> Result<(), UnitError> {
        debug_assert!(commands.len() <= MAX_BATCH);
        let deadline_ns = registers.deadline_ns();
        let sequence = self.enqueue(registers, commands, what, deadline_ns)?;
        self.wait(registers, sequence, what, deadline_ns)?;
        self.completed
            .fetch_add(commands.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn enqueue(
        &self,
        registers: &Registers<P>,
        commands: &[[u64; 2]],
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<u32, UnitError> {
        let needed = commands.len() as u32 + 1;
        loop {
            let mut ring = self.ring.lock();
            if ring.free < needed {
                let head = QueuePointer::from_bits(registers.read_u64(regs::IQH_REG)).offset();
                let head = (head / DESCRIPTOR_BYTES) as u32 % ENTRIES;
                ring.free = ENTRIES - 1 - (ring.tail + ENTRIES - head) % ENTRIES;
            }
            if ring.free >= needed {
                ring.sequence = ring.sequence.wrapping_add(1);
                let wait = Wait::new()
                    .with_sw(true)
                    .with_status_data(ring.sequence)
                    .with_status_address(self.status.phys().as_u64());
                for words in commands.iter().copied().chain([wait.to_words()]) {
                    self.entries.store(ring.tail as usize * 2, words[0]);
                    self.entries.store(ring.tail as usize * 2 + 1, words[1]);
                    ring.tail = (ring.tail + 1) % ENTRIES;
                }
                ring.free -= needed;
                let tail = QueuePointer::from_offset(u64::from(ring.tail) * DESCRIPTOR_BYTES);
                // The ordered write puts the descriptors, and the table changes they are about, in memory
                // before the unit is told.
                registers.write_u64(regs::IQT_REG, tail.into_bits());
                return Ok(ring.sequence);
            }
            drop(ring);
            self.check(registers)?;
            registers.pause(deadline_ns, what)?;
        }
    }

    fn wait(
        &self,
        registers: &Registers<P>,
        sequence: u32,
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<(), UnitError> {
        let mut polls = 0u32;
        loop {
            // Before or after, on a circle of 2^32 numbers of which at most 256 are under way.
            if self.status.load_u32(0).wrapping_sub(sequence) as i32 >= 0 {
                return Ok(());
            }
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS_PER_ERROR_CHECK) {
                self.check(registers)?;
            }
            registers.pause(deadline_ns, what)?;
        }
    }

    /// Whether the unit has stopped fetching (VT-d 6.5.2.9, IQE).
    fn check(&self, registers: &Registers<P>) -> Result<(), UnitError> {
        if !FaultStatus::from_bits(registers.read_u32(regs::FSTS_REG)).iqe() {
            return Ok(());
        }
        let record = QueueErrorRecord::from_bits(registers.read_u64(regs::IQERCD_REG));
        let head = QueuePointer::from_bits(registers.read_u64(regs::IQH_REG)).offset();
        Err(UnitError::QueueStopped {
            unit: registers.base(),
            entry: (head / DESCRIPTOR_BYTES) as u32,
            reason: match record.iqei() {
                QueueErrorInfo::Unknown => "no reason given",
                QueueErrorInfo::InvalidTail => "tail outside the queue",
                QueueErrorInfo::DescriptorFetch => "descriptor fetch failed",
                QueueErrorInfo::InvalidDescriptorType => "unknown descriptor type",
                QueueErrorInfo::ReservedField => "reserved field not zero",
                QueueErrorInfo::InvalidDescriptorWidth => "descriptor width not supported",
                QueueErrorInfo::TailNotAligned => "tail not aligned",
                QueueErrorInfo::InvalidTranslationTableMode => "wrong table mode",
            },
        })
    }

    /// Gives the queue's memory back.
    ///
    /// # Safety
    /// The unit no longer fetches from the queue nor writes its status.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go of both.
        unsafe {
            self.entries.free();
            self.status.free();
        }
    }
}

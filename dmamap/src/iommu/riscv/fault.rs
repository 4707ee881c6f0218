//! The fault queue (3.2): records that the unit writes to memory, read out in order.

use hw::riscv::fault::{Cause, FaultRecord, RECORD_BYTES, TransactionType};
use hw::riscv::regs::{self, FaultQueueControl, InterruptPending, QueueBase};

use super::RiscvUnit;
use super::registers::Registers;
use crate::addr::{BusAddr, FRAME_BYTES};
use crate::frame::HardwareFrames;
use crate::iommu::fault::{Access, Fault, FaultLog, FaultReason};
use crate::iommu::fault_event::{FaultEvent, FaultSource, Pending};
use crate::iommu::stream::StreamNames;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Records in the one frame the queue uses.
const RECORDS: u32 = (FRAME_BYTES / RECORD_BYTES) as u32;

/// 64-bit words of a record.
const WORDS: usize = (RECORD_BYTES / 8) as usize;

/// Turns of the queue read before the CPU is given back.
const TURNS: u32 = 4;

/// The queue of one unit.
pub(super) struct FaultQueue<P: Platform> {
    records: HardwareFrames<P>,
    /// Index of the next record to read. Records are read by one at a time.
    head: lock_api::Mutex<P::Lock, u32>,
}

impl<P: Platform> FaultQueue<P> {
    /// An empty queue.
    pub(super) fn new(platform: P, coherence: WalkCoherence) -> Result<Self, OutOfFrames> {
        Ok(Self {
            records: HardwareFrames::allocate(platform, 1, coherence)?,
            head: lock_api::Mutex::new(0),
        })
    }

    /// What `fqb` is set to.
    pub(super) fn base(&self) -> QueueBase {
        QueueBase::new()
            .with_base(self.records.phys().as_u64())
            .with_entries_log2(RECORDS.trailing_zeros() as u8)
    }

    /// Begins anew, for a unit whose queue is off: `point` tells it where the queue is, and that its head is 0.
    pub(super) fn reset(&self, point: impl FnOnce()) {
        let mut head = self.head.lock();
        *head = 0;
        point();
    }

    fn record(&self, index: u32) -> FaultRecord {
        let first = index as usize * WORDS;
        self.records.refresh(first * 8, WORDS * 8);
        FaultRecord::from_words([0, 1, 2, 3].map(|word| self.records.load(first + word)))
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

impl<P: Platform> FaultSource<P> for RiscvUnit<P> {
    fn fault_event(&self) -> &FaultEvent<P> {
        &self.event
    }

    fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        let (registers, queue) = (&self.registers, &self.running.faults);
        let mut head = queue.head.lock();
        for _ in 0..TURNS {
            if !registers.read_fqcsr().fqon() {
                // While it is off its tail may be one of before: it is 0 once it is on (5.16).
                return Pending::Nothing;
            }
            // The bit falls before the records are read: one that comes after raises it, and an interrupt, again
            // (5.18).
            let pending = InterruptPending::new().with_fip(true);
            registers.write_u32(regs::IPSR, pending.into_bits());
            let tail = registers.read_u32(regs::FQT);
            if tail == u32::MAX {
                // Nobody's answer: the unit is gone, and tells nothing any more.
                return Pending::Nothing;
            }
            let tail = tail % RECORDS;
            let empty = *head == tail;
            while *head != tail {
                record(registers, &self.streams, queue.record(*head), log);
                *head = (*head + 1) % RECORDS;
            }
            if !empty {
                registers.write_u32(regs::FQH, *head);
            }
            if clear_errors(registers, log) == Pending::Nothing && empty {
                return Pending::Nothing;
            }
        }
        Pending::More
    }
}

/// While an error stands the unit records nothing more, so it is cleared once there is room (5.16). Nobody waits for
/// the register here, with interrupts off: one that is busy is left for later.
fn clear_errors<P: Platform>(registers: &Registers<P>, log: &FaultLog<P>) -> Pending {
    let control = registers.read_fqcsr();
    if !control.fqof() && !control.fqmf() {
        return Pending::Nothing;
    }
    // The error bits are cleared by writing what was read.
    let cleared = |now: FaultQueueControl| {
        FaultQueueControl::new()
            .with_fqen(now.fqen())
            .with_fie(now.fie())
            .with_fqof(now.fqof())
            .with_fqmf(now.fqmf())
    };
    if !registers.change_fqcsr(cleared) {
        return Pending::More;
    }
    log.record_overflow();
    Pending::Nothing
}

fn record<P: Platform>(
    registers: &Registers<P>,
    streams: &StreamNames,
    record: FaultRecord,
    log: &FaultLog<P>,
) {
    let code = record.header.cause();
    let cause = Cause::from_code(code);
    let text = cause.map_or("unknown cause", Cause::text);
    if record.header.ttyp() == TransactionType::None {
        // No device did it.
        log::warn!("{}: {text} (cause {code})", registers.base());
        return;
    }
    log.record(Fault {
        unit: registers.base(),
        requester: streams.requester_of(record.header.did()),
        address: BusAddr::new(record.iotval & !(FRAME_BYTES - 1)),
        access: access(cause, record.header.ttyp()),
        reason: FaultReason { code, text },
    });
}

/// What the request tried. The cause tells it where it depends on it, and is believed first: emulated units are known
/// to say of all requests that they write.
fn access(cause: Option<Cause>, kind: TransactionType) -> Access {
    match (cause, kind) {
        (
            Some(
                Cause::InstructionAccessFault
                | Cause::ReadMisaligned
                | Cause::ReadAccessFault
                | Cause::InstructionPageFault
                | Cause::ReadPageFault
                | Cause::InstructionGuestPageFault
                | Cause::ReadGuestPageFault,
            ),
            _,
        ) => Access::Read,
        (
            Some(
                Cause::WriteMisaligned
                | Cause::WriteAccessFault
                | Cause::WritePageFault
                | Cause::WriteGuestPageFault,
            ),
            _,
        ) => Access::Write,
        (_, TransactionType::UntranslatedWrite | TransactionType::TranslatedWrite) => Access::Write,
        (
            _,
            TransactionType::UntranslatedExecute
            | TransactionType::UntranslatedRead
            | TransactionType::TranslatedExecute
            | TransactionType::TranslatedRead,
        ) => Access::Read,
        // Of a translation asked for ahead, and of a message, nobody says.
        _ => Access::Unknown,
    }
}

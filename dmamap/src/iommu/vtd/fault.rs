//! Primary fault recording (VT-d 7.2): the unit's fault records, read out and cleared in order.

use hw::vtd::fault::{FaultReason as Reason, FaultRecord, RequestType};
use hw::vtd::regs::{self, FaultStatus};

use super::VtdUnit;
use super::registers::Registers;
use crate::addr::BusAddr;
use crate::iommu::fault::{Access, Fault, FaultLog, FaultReason};
use crate::iommu::fault_event::{FaultEvent, FaultSource, Pending};
use crate::iommu::requester::Requester;
use crate::platform::Platform;

/// Turns of the record ring read before the CPU is given back.
const TURNS: u64 = 4;

/// How far the ring of records has been read: its one reader's place.
///
/// FSTS.FRI tells where the first pending fault was recorded, and stays as it is while others are pending
/// (11.4.9): of use to begin with, but not to go on in a storm.
#[derive(Default)]
pub(super) struct Place {
    next: Option<u64>,
}

impl<P: Platform> FaultSource<P> for VtdUnit<P> {
    fn fault_event(&self) -> &FaultEvent<P> {
        &self.event
    }

    fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        let mut place = self.fault_place.lock();
        service(&self.registers, self.segment, &mut place, log)
    }
}

/// Moves pending records from `place` on into `log`.
fn service<P: Platform>(
    registers: &Registers<P>,
    segment: u16,
    place: &mut Place,
    log: &FaultLog<P>,
) -> Pending {
    let cap = registers.cap();
    let records = cap.fault_records();
    for _ in 0..TURNS {
        let status = registers.read_u32(regs::FSTS_REG);
        if status == u32::MAX {
            // Nobody's answer: the unit is gone, and tells nothing any more.
            return Pending::Nothing;
        }
        let status = FaultStatus::from_bits(status);
        if status.ppf() {
            let mut index = place.next.unwrap_or(u64::from(status.fri()) % records);
            let mut read = 0;
            while read < records {
                let at = regs::fault_record(cap, index);
                let high = registers.read_u64(at + 8);
                let record = FaultRecord::from_words([registers.read_u64(at), high]);
                if !record.f() {
                    break;
                }
                log.record(describe(registers, segment, record));
                // F is write-1-to-clear and the rest read-only (11.4.14.1); clearing frees the record.
                registers.write_u64(at + 8, FaultRecord::new().with_f(true).to_words()[1]);
                index = (index + 1) % records;
                read += 1;
            }
            // Where none was found the unit is somewhere else, and its register says where.
            place.next = (read > 0).then_some(index);
        }
        // While PFO is set the unit records nothing more (7.2.1), so it is cleared once records are free.
        if status.pfo() {
            log.record_overflow();
        }
        // A condition that stands keeps later ones from raising the interrupt (11.4.7.2): also that a device answered
        // an invalidation nobody asked it for.
        let stands = FaultStatus::new()
            .with_pfo(status.pfo())
            .with_ice(status.ice());
        if stands != FaultStatus::new() {
            registers.write_u32(regs::FSTS_REG, stands.into_bits());
        }
        if !status.ppf() {
            return Pending::Nothing;
        }
    }
    Pending::More
}

fn describe<P: Platform>(registers: &Registers<P>, segment: u16, record: FaultRecord) -> Fault {
    let reason = Reason::from_code(record.fr());
    Fault {
        unit: registers.base(),
        requester: Requester {
            segment,
            id: record.sid(),
        },
        address: BusAddr::new(record.fi()),
        access: match record.request_type() {
            RequestType::Read => Access::Read,
            RequestType::Write | RequestType::Page | RequestType::AtomicOp => Access::Write,
        },
        reason: FaultReason {
            code: record.fr().into(),
            text: reason.map_or("unknown reason", Reason::text),
        },
    }
}

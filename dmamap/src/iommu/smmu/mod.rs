//! Arm SMMUv3: the driver of one unit, with stage 1 or stage 2 tables.
//!
//! | part | here | manual (IHI 0070) |
//! |---|---|---|
//! | registers, those that acknowledge late | `registers` | 6.3 |
//! | enabling and disabling | `start` | 3.11, 6.3.9 |
//! | stream → table | `device_table`, `shape` | 5 |
//! | invalidation | `queue`, `invalidation` | 4 |
//! | refused requests | `fault` | 7 |
//!
//! A domain's id is its ASID, or with stage 2 its VMID. What the unit walks from there on is
//! [`pagetable::ArmLpaeStage1`](crate::pagetable::ArmLpaeStage1) or
//! [`ArmLpaeStage2`](crate::pagetable::ArmLpaeStage2).

mod device_table;
mod fault;
mod invalidation;
mod queue;
mod registers;
mod shape;
mod start;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use hw::smmu::regs::Gbpa;

use crate::addr::{BusRange, PhysAddr};
use crate::iommu::command_ring::CommandRing;
use crate::iommu::fault::FaultLog;
use crate::iommu::fault_event::{FaultEvent, FaultSource};
use crate::iommu::requester::Attachment;
use crate::iommu::stream::StreamNames;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{Change, DomainId, TableShape, Unit, UnitError, UnitFacts};
use crate::pagetable::{Granule, WalkCoherence};
use crate::platform::Platform;
use crate::system::Stage;
use device_table::{DeviceTable, Route, Written};
use fault::EventQueue;
use registers::Registers;

/// What units of this kind are called.
const KIND: &str = "SMMUv3";

/// What the unit reads and writes in memory; given back when it is off.
struct Running<P: Platform> {
    tables: DeviceTable<P>,
    queue: CommandRing<P>,
    events: EventQueue<P>,
}

/// One SMMUv3.
pub(crate) struct SmmuUnit<P: Platform> {
    platform: P,
    registers: Registers<P>,
    facts: UnitFacts,
    streams: StreamNames,
    stage: Stage,
    granule: Granule,
    coherence: WalkCoherence,
    /// What firmware let become of requests while the unit is off.
    firmware_bypass: Gbpa,
    running: ManuallyDrop<Running<P>>,
    /// Whether the unit has confirmed that it reads and writes nothing.
    off: AtomicBool,
    event: FaultEvent<P>,
}

impl<P: Platform> Unit<P> for SmmuUnit<P> {
    fn base(&self) -> PhysAddr {
        self.registers.base()
    }

    fn facts(&self) -> UnitFacts {
        self.facts
    }

    fn create_table(
        &self,
        shape: TableShape,
        _domain: DomainId,
    ) -> Result<Box<dyn Translation<P>>, UnitError> {
        self.new_table(shape)
    }

    fn unmappable(&self, _attachment: Attachment) -> Result<Vec<BusRange>, UnitError> {
        // Messages are translated like any write: no address is special to the unit.
        Ok(Vec::new())
    }

    fn attach(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError> {
        let unit = self.base();
        let unsupported = |feature| UnitError::Unsupported { unit, feature };
        if attachment.pasid.is_some() {
            return Err(unsupported("substreams (PASIDs)"));
        }
        let stream = attachment.stream;
        let tables = &self.running.tables;
        if !tables.covers(stream) {
            return Err(unsupported("stream ids that great"));
        }
        let route = match translate {
            Translate::PassThrough => Route::Bypass,
            Translate::Table { root, levels } => {
                let shape = self
                    .facts
                    .tables
                    .iter()
                    .find(|shape| shape.levels == levels);
                let shape = shape.ok_or(unsupported("tables of that many levels"))?;
                self.route(domain, root, shape)?
            }
        };
        let write = || {
            tables
                .write(stream, route)
                .map_err(|cause| UnitError::OutOfFrames { unit, cause })
        };
        let mut written = write()?;
        if written == Written::Prepared {
            self.forget_stream(stream)?;
            written = write()?;
        }
        match written {
            Written::Occupied => Err(UnitError::AlreadyAttached {
                unit,
                requester: attachment.requester,
            }),
            // The unit may remember that the entry was not valid (3.21.3).
            Written::Fresh => self.forget_stream(stream),
            Written::Replaced | Written::Prepared => {
                self.forget_stream(stream)?;
                self.forget_domain(domain)
            }
        }
    }

    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        self.running.tables.clear(attachment.stream);
        self.forget_stream(attachment.stream)?;
        self.forget_domain(domain)
    }

    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError> {
        let commands = self.changed(domain, change);
        self.running
            .queue
            .submit_named(&self.registers, commands, "TLB invalidation")
    }

    fn sync_map(&self, _domain: DomainId, _range: BusRange) -> Result<(), UnitError> {
        Ok(())
    }

    fn service_faults(&self, log: &FaultLog<P>) {
        let _ = self.read_faults(log);
    }

    fn invalidations(&self) -> u64 {
        self.running.queue.completed()
    }

    fn turn_on(&self) -> Result<(), UnitError> {
        self.translate()
    }

    fn sleep(&self) {
        self.running.queue.sleep();
    }

    fn restart(&self) -> Result<(), UnitError> {
        self.reset()
    }

    fn stop(&self) -> Result<(), UnitError> {
        self.turn_off()?;
        self.event.close(self.platform, self.registers.bound());
        Ok(())
    }
}

//! Intel VT-d, in legacy mode and in scalable mode: the driver of one remapping hardware unit.
//!
//! | part | here | manual |
//! |---|---|---|
//! | registers, commands that answer through GSTS | `registers` | 11.4 |
//! | enabling and disabling | `start` | 11.4.4 |
//! | which mode | `mode` | 3.4, 11.4.2, 11.4.3 |
//! | requester → table, in either mode | `tables` | 3.4 |
//! | … in legacy mode | `device_table` | 9.1, 9.3 |
//! | … in scalable mode | `pasid_table` | 9.2, 9.4 to 9.6 |
//! | invalidation | `queue`, `invalidation` | 6.5.2, 6.5.3 |
//! | refused requests | `fault` | 7 |
//!
//! What the unit walks from there on is [`pagetable::VtdSecondStage`](crate::pagetable::VtdSecondStage) or, in scalable
//! mode, [`pagetable::X86FirstStage`](crate::pagetable::X86FirstStage).

mod device_table;
mod fault;
mod invalidation;
mod mode;
mod pasid_table;
mod queue;
mod registers;
mod start;
mod tables;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use crate::addr::{BusAddr, BusRange, PhysAddr};
use crate::iommu::command_ring::CommandRing;
use crate::iommu::fault::FaultLog;
use crate::iommu::fault_event::{FaultEvent, FaultSource};
use crate::iommu::requester::Attachment;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{
    AtMap, Change, DomainId, PassThrough, TableShape, Unit, UnitError, UnitFacts,
};
use crate::pagetable::{
    Format, FormatError, PageTable, SnoopControl, TableChange, VtdSecondStage, WalkCoherence,
    X86FirstStage,
};
use crate::platform::Platform;
use crate::system::Stage;
use device_table::Written;
use fault::Place;
use invalidation::Pages;
use mode::Mode;
use registers::Registers;
use tables::Tables;

/// What units of this kind are called.
const KIND: &str = "VT-d";

/// Writes to this range are interrupts, never translated (VT-d 3.14).
const MESSAGE_WINDOW: (u64, u64) = (0xfee0_0000, 0x10_0000);

/// What the unit reads from memory; given back when it is off.
struct Running<P: Platform> {
    tables: Tables<P>,
    queue: CommandRing<P>,
}

/// One VT-d unit, enabled.
pub(crate) struct VtdUnit<P: Platform> {
    platform: P,
    segment: u16,
    registers: Registers<P>,
    mode: Mode,
    /// How it is told of pages.
    pages: Pages,
    facts: UnitFacts,
    /// Bits of a physical address on this host (DMAR 8.1).
    host_address_bits: u32,
    /// How page tables are read.
    coherence: WalkCoherence,
    snoop: SnoopControl,
    running: ManuallyDrop<Running<P>>,
    /// Whether the unit has confirmed that it walks and fetches nothing.
    off: AtomicBool,
    event: FaultEvent<P>,
    /// Records are read by one at a time.
    fault_place: lock_api::Mutex<P::Lock, Place>,
}

impl<P: Platform> VtdUnit<P> {
    fn forget_device(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        let requester = attachment.requester.id;
        let batch = invalidation::device(self.mode, self.registers.cap(), requester, domain);
        self.running
            .queue
            .submit(&self.registers, batch.as_slice(), "device invalidation")
    }

    fn boxed_table<F: Format>(
        &self,
        format: Result<F, FormatError>,
    ) -> Result<Box<dyn Translation<P>>, UnitError> {
        let unit = self.base();
        let format = format.map_err(|_| UnitError::Unsupported {
            unit,
            feature: "tables of that many levels",
        })?;
        match PageTable::new(self.platform, format) {
            Ok(table) => Ok(Box::new(table)),
            Err(cause) => Err(UnitError::OutOfFrames { unit, cause }),
        }
    }
}

impl<P: Platform> Unit<P> for VtdUnit<P> {
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
        let (levels, bits) = (shape.levels.into(), self.host_address_bits);
        let leaf_sizes = self.facts.leaf_sizes;
        match self.mode {
            Mode::Scalable(Stage::First) => {
                let format = X86FirstStage::new(levels, bits);
                self.boxed_table(format.map(|format| {
                    format
                        .with_leaf_sizes(leaf_sizes)
                        .with_coherence(self.coherence)
                }))
            }
            Mode::Legacy | Mode::Scalable(Stage::Second) => {
                let format = VtdSecondStage::new(levels, bits);
                self.boxed_table(format.map(|format| {
                    format
                        .with_leaf_sizes(leaf_sizes)
                        .with_snoop_control(self.snoop)
                        .with_coherence(self.coherence)
                }))
            }
        }
    }

    fn unmappable(&self, _attachment: Attachment) -> Result<Vec<BusRange>, UnitError> {
        let (start, len) = MESSAGE_WINDOW;
        Ok(BusRange::new(BusAddr::new(start), len)
            .into_iter()
            .collect())
    }

    fn attach(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError> {
        let unit = self.base();
        if attachment.pasid.is_some() {
            return Err(UnitError::Unsupported {
                unit,
                feature: "PASIDs of requests",
            });
        }
        if translate == Translate::PassThrough
            && self.facts.pass_through == PassThrough::Unsupported
        {
            return Err(UnitError::Unsupported {
                unit,
                feature: "pass-through",
            });
        }
        let requester = attachment.requester;
        let written = self
            .running
            .tables
            .write(requester.id, domain, translate)
            .map_err(|cause| UnitError::OutOfFrames { unit, cause })?;
        match written {
            Written::Occupied => Err(UnitError::AlreadyAttached { unit, requester }),
            Written::Replaced => self.forget_device(attachment, domain),
            Written::Fresh => match self.facts.at_map {
                AtMap::Nothing => Ok(()),
                // Under caching mode an absent entry is cached with domain id 0 (6.1); the device-selective
                // form must name the id it was cached with.
                AtMap::Invalidate => self
                    .forget_device(attachment, DomainId(0))
                    .and_then(|()| self.forget_device(attachment, domain)),
                AtMap::FlushWriteBuffer => self.registers.flush_write_buffer(),
            },
        }
    }

    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        self.running.tables.clear(attachment.requester.id);
        self.forget_device(attachment, domain)
    }

    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError> {
        let commands = self.pages.of(domain, change);
        self.running
            .queue
            .submit_named(&self.registers, commands, "IOTLB invalidation")
    }

    fn sync_map(&self, domain: DomainId, range: BusRange) -> Result<(), UnitError> {
        match self.facts.at_map {
            AtMap::Nothing => Ok(()),
            AtMap::Invalidate => {
                // New tables may have been linked where the unit remembers none.
                self.invalidate(
                    domain,
                    Change {
                        range,
                        tables: TableChange::Unlinked,
                    },
                )
            }
            AtMap::FlushWriteBuffer => self.registers.flush_write_buffer(),
        }
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

//! The RISC-V IOMMU: the driver of one unit, whether its registers are at a physical address or behind a BAR.
//!
//! | part | here | manual |
//! |---|---|---|
//! | registers, those that are busy for a while | `registers` | 5 |
//! | enabling and disabling | `start` | 6.2 |
//! | device → table | `device_table` | 2.1 |
//! | what a change makes the unit forget | `invalidation` | 3.1, 6.3 |
//! | commands | `queue` | 3.1 |
//! | refused requests, and the messages that tell of them | `fault`, `message` | 3.2, 5.28 |
//!
//! One stage of the two translates, as the [settings](crate::system::Settings) say. What the unit walks from there on
//! is [`pagetable::Riscv`](crate::pagetable::Riscv). Domains are told apart by process soft-context id in the first
//! stage, by guest soft-context id in the second. There are no process directories and no MSI page tables: messages
//! are translated as any write.

mod device_table;
mod fault;
mod invalidation;
mod message;
mod queue;
mod registers;
mod start;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use hw::riscv::regs::Capabilities;

use crate::addr::{BusRange, PhysAddr};
use crate::iommu::command_ring::CommandRing;
use crate::iommu::fault::FaultLog;
use crate::iommu::fault_event::{FaultEvent, FaultSource};
use crate::iommu::requester::Attachment;
use crate::iommu::stream::StreamNames;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{
    AtMap, Change, DomainId, MessageRoute, PassThrough, TableShape, TableShapes, Unit, UnitError,
    UnitFacts,
};
use crate::pagetable::{LeafSizes, PageTable, Riscv, WalkCoherence};
use crate::platform::Platform;
use crate::system::Stage;
use device_table::{DeviceTable, Written};
use fault::FaultQueue;
use message::Messages;
use registers::Registers;

/// What units of this kind are called.
const KIND: &str = "RISC-V IOMMU";

/// What the unit reads from memory, and writes to it; given back when it is off.
struct Running<P: Platform> {
    tables: DeviceTable<P>,
    queue: CommandRing<P>,
    faults: FaultQueue<P>,
}

/// One RISC-V IOMMU, enabled.
pub(crate) struct RiscvUnit<P: Platform> {
    platform: P,
    registers: Registers<P>,
    messages: Messages<P>,
    streams: StreamNames,
    facts: UnitFacts,
    stage: Stage,
    /// Bits of a physical address that host and unit both have.
    phys_bits: u32,
    coherence: WalkCoherence,
    running: ManuallyDrop<Running<P>>,
    /// Whether the unit has confirmed that it walks, fetches and writes nothing.
    off: AtomicBool,
    event: FaultEvent<P>,
}

impl<P: Platform> Unit<P> for RiscvUnit<P> {
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
        let unit = self.base();
        let levels = shape.levels.into();
        let format = match self.stage {
            Stage::First => Riscv::first_stage(levels, self.phys_bits),
            Stage::Second => Riscv::second_stage(levels, self.phys_bits),
        };
        let format = format
            .map_err(|_| UnitError::Unsupported {
                unit,
                feature: "tables of that many levels",
            })?
            .with_leaf_sizes(self.facts.leaf_sizes)
            .with_coherence(self.coherence);
        match PageTable::new(self.platform, format) {
            Ok(table) => Ok(Box::new(table)),
            Err(cause) => Err(UnitError::OutOfFrames { unit, cause }),
        }
    }

    fn unmappable(&self, _attachment: Attachment) -> Result<Vec<BusRange>, UnitError> {
        Ok(Vec::new())
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
                feature: "PASIDs without process directories",
            });
        }
        let stream = attachment.stream;
        if !self.running.tables.covers(stream) {
            return Err(UnitError::Unsupported {
                unit,
                feature: "device directory for device ids that wide",
            });
        }
        let context = device_table::context(self.stage, domain, translate);
        let written = self
            .running
            .tables
            .write(stream, context)
            .map_err(|cause| UnitError::OutOfFrames { unit, cause })?;
        match written {
            Written::Occupied => Err(UnitError::AlreadyAttached {
                unit,
                requester: attachment.requester,
            }),
            Written::Replaced => self.forget_device(stream, [Some(domain), None]),
            // What is not valid is never cached (2.8).
            Written::Fresh => Ok(()),
        }
    }

    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        let before = self.running.tables.clear(attachment.stream);
        let other = before.filter(|before| *before != domain);
        self.forget_device(attachment.stream, [Some(domain), other])
    }

    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError> {
        let commands = self.page_invalidations(domain, change);
        self.running
            .queue
            .submit_named(&self.registers, commands, "IOTLB invalidation")
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

fn has_first_stage(capabilities: Capabilities) -> bool {
    capabilities.sv39() || capabilities.sv48() || capabilities.sv57()
}

fn has_second_stage(capabilities: Capabilities) -> bool {
    capabilities.sv39x4() || capabilities.sv48x4() || capabilities.sv57x4()
}

/// What domains on a unit with these capabilities look like, translated by `stage`.
fn facts(capabilities: Capabilities, stage: Stage) -> UnitFacts {
    // Canonical addresses of the lower half have one bit less than the first stage translates; the second translates
    // two more.
    let (walked, bits) = match stage {
        Stage::First => (
            [
                capabilities.sv39(),
                capabilities.sv48(),
                capabilities.sv57(),
            ],
            [38, 47, 56],
        ),
        Stage::Second => (
            [
                capabilities.sv39x4(),
                capabilities.sv48x4(),
                capabilities.sv57x4(),
            ],
            [41, 50, 59],
        ),
    };
    let tables = TableShapes::new(
        (3..)
            .zip(walked)
            .zip(bits)
            .filter(|((_, walked), _)| *walked)
            .map(|((levels, _), address_bits)| TableShape {
                levels,
                address_bits,
            }),
    );
    UnitFacts {
        tables,
        address_bits: tables.iter().last().map_or(0, |shape| shape.address_bits),
        leaf_sizes: LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB | LeafSizes::ONE_GIB,
        pass_through: PassThrough::Supported,
        // Guest soft-context ids have 16 bits, process soft-context ids more.
        domain_ids: 1 << 16,
        at_map: AtMap::Nothing,
        messages: MessageRoute::Translated,
    }
}

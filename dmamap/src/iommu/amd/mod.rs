//! AMD-Vi: the driver of one IOMMU.
//!
//! | part | here | manual (48882) |
//! |---|---|---|
//! | registers, what is on | `registers` | 3.4 |
//! | enabling and disabling | `start` | 2.3, 3.4 |
//! | device id → table | `device_table` | 2.2.2 |
//! | what a change makes the unit forget | `invalidation` | 2.4.2 to 2.4.8 |
//! | commands | `queue` | 2.4 |
//! | refused requests | `fault` | 2.5 |
//!
//! What the unit walks from there on is [`pagetable::AmdV1`](crate::pagetable::AmdV1).
//!
//! Firmware's unity ranges are mapped like any direct region. Its exclusion ranges, which the unit could let through
//! untranslated, are treated alike: the exclusion registers hold one range for all its devices and check nothing, a
//! mapping can be looked up, counted and audited.
//!
//! Whether a unit caches that a page is not present (`NpCache`) only its PCI capability says, and only emulations do
//! so; this driver takes it that none does.

mod device_table;
mod fault;
mod invalidation;
mod queue;
mod registers;
mod start;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use crate::addr::{BusAddr, BusRange, PhysAddr};
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
use crate::pagetable::{AmdV1, LeafSizes, PageTable, Runs, SnoopControl, WalkCoherence};
use crate::platform::Platform;
use device_table::{DeviceTable, Entry};
use fault::EventLog;
use registers::Registers;

/// What units of this kind are called.
const KIND: &str = "AMD-Vi";

/// Bus addresses that are no memory's: interrupts, and what HyperTransport keeps for itself (2.1.2).
const SPECIAL: [(u64, u64); 2] = [(0xfee0_0000, 0x10_0000), (0xfd_0000_0000, 0x3_0000_0000)];

/// The fewest levels of a table that are worth having: 39 address bits.
const MIN_LEVELS: u8 = 3;

/// What the unit reads from memory; given back when it is off.
struct Running<P: Platform> {
    tables: DeviceTable<P>,
    queue: CommandRing<P>,
}

/// One AMD-Vi unit.
pub(crate) struct AmdUnit<P: Platform> {
    platform: P,
    registers: Registers<P>,
    facts: UnitFacts,
    host_address_bits: u32,
    coherence: WalkCoherence,
    /// Whose the device ids are.
    streams: StreamNames,
    running: ManuallyDrop<Running<P>>,
    log: ManuallyDrop<EventLog<P>>,
    /// Whether it may have cached anything, and does commands.
    on: AtomicBool,
    /// Whether it has confirmed that it reads and writes nothing.
    off: AtomicBool,
    event: FaultEvent<P>,
}

impl<P: Platform> AmdUnit<P> {
    /// The place of `attachment` in the device table.
    fn device_id(&self, attachment: Attachment) -> Result<u16, UnitError> {
        let unsupported = |feature| UnitError::Unsupported {
            unit: self.base(),
            feature,
        };
        if attachment.pasid.is_some() {
            return Err(unsupported("PASIDs in host tables"));
        }
        u16::try_from(attachment.stream).map_err(|_| unsupported("device ids of more than 16 bits"))
    }
}

impl<P: Platform> Unit<P> for AmdUnit<P> {
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
        let format = AmdV1::new(shape.levels.into(), self.host_address_bits)
            .map_err(|_| UnitError::Unsupported {
                unit,
                feature: "tables of that many levels",
            })?
            .with_leaf_sizes(self.facts.leaf_sizes)
            .with_runs(Runs::Hinted)
            .with_snoop_control(SnoopControl::Force)
            .with_coherence(self.coherence);
        match PageTable::new(self.platform, format) {
            Ok(table) => Ok(Box::new(table)),
            Err(cause) => Err(UnitError::OutOfFrames { unit, cause }),
        }
    }

    fn unmappable(&self, _attachment: Attachment) -> Result<Vec<BusRange>, UnitError> {
        let range = |(start, len)| BusRange::new(BusAddr::new(start), len).ok();
        Ok(SPECIAL.into_iter().filter_map(range).collect())
    }

    fn attach(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError> {
        let device = self.device_id(attachment)?;
        let tables = &self.running.tables;
        match tables.entry(device, domain) {
            Entry::Occupied => {
                return Err(UnitError::AlreadyAttached {
                    unit: self.base(),
                    requester: attachment.requester,
                });
            }
            Entry::Blocked => {
                // A unit that read the id of before and the table of after would tag the one with the other.
                tables.name(device, domain);
                self.forget_entry(device)?;
            }
            Entry::Attached => {}
        }
        tables.point(device, translate);
        self.forget_device(device, domain)
    }

    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        let device = self.device_id(attachment)?;
        let tables = &self.running.tables;
        tables.block(device);
        // As in `attach`: not the table of before with the id of after.
        self.forget_entry(device)?;
        tables.unname(device);
        self.forget_device(device, domain)
    }

    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError> {
        // Nothing is cached before the unit is on.
        if !self.is_on() {
            return Ok(());
        }
        let commands = self.page_invalidations(domain, change);
        self.running
            .queue
            .submit_named(self, commands, "page invalidation")
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

/// What domains on a unit with these features look like.
fn facts(registers: &Registers<impl Platform>) -> UnitFacts {
    let most = registers.features().hats().levels().unwrap_or(0) as u8;
    // Six levels reach further than an address.
    let address_bits = |levels: u8| (12 + 9 * levels).min(64);
    UnitFacts {
        tables: TableShapes::new((MIN_LEVELS..=most).map(|levels| TableShape {
            levels,
            address_bits: address_bits(levels),
        })),
        address_bits: address_bits(most),
        leaf_sizes: LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB | LeafSizes::ONE_GIB,
        pass_through: PassThrough::Supported,
        domain_ids: invalidation::DOMAIN_IDS,
        at_map: AtMap::Nothing,
        messages: MessageRoute::Aside,
    }
}

//! Intel VT-d in legacy mode: the driver of one remapping hardware unit.
//!
//! | part | here | manual |
//! |---|---|---|
//! | registers, commands that answer through GSTS | `registers` | 11.4 |
//! | enabling and disabling | `start` | 11.4.4 |
//! | requester → table | `device_table` | 9.1, 9.3 |
//! | invalidation | `queue` | 6.5.2 |
//! | refused requests | `fault` | 7 |
//!
//! What the unit walks from there on is [`pagetable::VtdSecondStage`](crate::pagetable::VtdSecondStage).

mod device_table;
mod fault;
mod queue;
mod registers;
mod start;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use hw::vtd::invalidation::{ContextCache, Iotlb};
use hw::vtd::regs::{ContextGranularity, FunctionMask, IotlbGranularity};
use hw::vtd::root::AddressWidth;

use crate::addr::{BusAddr, BusRange, FRAME_SIZE_LOG2, PhysAddr};
use crate::iommu::command_ring::{Batch, CommandRing};
use crate::iommu::fault::FaultLog;
use crate::iommu::fault_event::{FaultEvent, FaultSource};
use crate::iommu::requester::Attachment;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{
    AtMap, Change, DomainId, MessageRoute, PassThrough, TableShape, TableShapes, Unit, UnitError,
    UnitFacts,
};
use crate::pagetable::{
    LeafSizes, PageTable, SnoopControl, TableChange, VtdSecondStage, WalkCoherence,
};
use crate::platform::Platform;
use device_table::{DeviceTable, Written};
use fault::Place;
use registers::Registers;

/// What units of this kind are called.
const KIND: &str = "VT-d";

/// Writes to this range are interrupts, never translated (VT-d 3.14).
const MESSAGE_WINDOW: (u64, u64) = (0xfee0_0000, 0x10_0000);

/// What the unit reads from memory; given back when it is off.
struct Running<P: Platform> {
    tables: DeviceTable<P>,
    queue: CommandRing<P>,
}

/// One VT-d unit, enabled in legacy mode.
pub(crate) struct VtdUnit<P: Platform> {
    platform: P,
    segment: u16,
    registers: Registers<P>,
    facts: UnitFacts,
    /// Bits of a physical address on this host (DMAR 8.1).
    host_address_bits: u32,
    coherence: WalkCoherence,
    snoop: SnoopControl,
    widest: AddressWidth,
    running: ManuallyDrop<Running<P>>,
    /// Whether the unit has confirmed that it walks and fetches nothing.
    off: AtomicBool,
    event: FaultEvent<P>,
    /// Records are read by one at a time.
    fault_place: lock_api::Mutex<P::Lock, Place>,
}

impl<P: Platform> VtdUnit<P> {
    fn page_invalidations(&self, domain: DomainId, change: Change) -> Batch {
        let cap = self.registers.cap();
        let base = Iotlb::new()
            .with_did(domain.0)
            .with_dr(cap.drd())
            .with_dw(cap.dwd());
        let whole = Batch::one(base.with_g(IotlbGranularity::Domain).to_words());
        if !cap.psi() {
            return whole;
        }
        let mut batch = Batch::new();
        let mut page = change.range.start().as_u64() >> FRAME_SIZE_LOG2;
        let end = (change.range.last().as_u64() >> FRAME_SIZE_LOG2) + 1;
        while page < end {
            // The largest aligned block that starts here and stays inside: a leaf inside the range is then
            // inside one block, as 6.5.2.3 asks of invalidations of large pages.
            let block = page
                .trailing_zeros()
                .min((end - page).ilog2())
                .min(cap.mamv().into());
            let command = base
                .with_g(IotlbGranularity::Page)
                .with_am(block as u8)
                .with_ih(change.tables == TableChange::Kept)
                .with_addr(page << FRAME_SIZE_LOG2);
            if !batch.push(command.to_words()) {
                return whole;
            }
            page += 1 << block;
        }
        batch
    }

    fn forget_device(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        let cap = self.registers.cap();
        let context = ContextCache::new()
            .with_g(ContextGranularity::Device)
            .with_did(domain.0)
            .with_sid(attachment.requester.id)
            .with_fm(FunctionMask::None);
        let iotlb = Iotlb::new()
            .with_g(IotlbGranularity::Domain)
            .with_did(domain.0)
            .with_dr(cap.drd())
            .with_dw(cap.dwd());
        // Context first: an IOTLB entry made from a stale context after the IOTLB was emptied would stay
        // (6.5.3.1).
        let commands = [context.to_words(), iotlb.to_words()];
        self.running
            .queue
            .submit(&self.registers, &commands, "device invalidation")
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
        let unit = self.base();
        let format = VtdSecondStage::new(shape.levels.into(), self.host_address_bits)
            .map_err(|_| UnitError::Unsupported {
                unit,
                feature: "tables of that many levels",
            })?
            .with_leaf_sizes(self.facts.leaf_sizes)
            .with_snoop_control(self.snoop)
            .with_coherence(self.coherence);
        match PageTable::new(self.platform, format) {
            Ok(table) => Ok(Box::new(table)),
            Err(cause) => Err(UnitError::OutOfFrames { unit, cause }),
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
                feature: "PASIDs in legacy mode",
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
            .write(requester.id, domain, translate, self.widest)
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
        let batch = self.page_invalidations(domain, change);
        self.running
            .queue
            .submit(&self.registers, batch.as_slice(), "IOTLB invalidation")
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

    fn restart(&self) -> Result<(), UnitError> {
        self.reset()
    }

    fn stop(&self) -> Result<(), UnitError> {
        self.turn_off()?;
        self.event.close(self.platform, self.registers.bound());
        Ok(())
    }
}

/// What domains on a unit with these capabilities look like.
fn facts(registers: &Registers<impl Platform>) -> UnitFacts {
    let (cap, ecap) = (registers.cap(), registers.ecap());
    let widths = cap.sagaw();
    let mut leaf_sizes = LeafSizes::FOUR_KIB;
    if cap.sslps().size_2m() {
        leaf_sizes = leaf_sizes | LeafSizes::TWO_MIB;
    }
    if cap.sslps().size_1g() {
        leaf_sizes = leaf_sizes | LeafSizes::ONE_GIB;
    }
    UnitFacts {
        tables: TableShapes::new(
            [
                (widths.bits_39(), 3),
                (widths.bits_48(), 4),
                (widths.bits_57(), 5),
            ]
            .into_iter()
            .filter(|(walked, _)| *walked)
            .map(|(_, levels)| TableShape {
                levels,
                address_bits: 12 + 9 * levels,
            }),
        ),
        address_bits: cap.guest_address_bits() as u8,
        leaf_sizes,
        pass_through: if ecap.pt() {
            PassThrough::Supported
        } else {
            PassThrough::Unsupported
        },
        domain_ids: 1 << cap.domain_id_bits(),
        at_map: if cap.cm() {
            AtMap::Invalidate
        } else if cap.rwbf() {
            AtMap::FlushWriteBuffer
        } else {
            AtMap::Nothing
        },
        messages: MessageRoute::Aside,
    }
}

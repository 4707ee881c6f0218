//! Turning a unit on and off (VT-d 10.2, 11.4.4): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::vtd::invalidation::{ContextCache, Iotlb};
use hw::vtd::regs::{
    self, ContextGranularity, EventAddress, EventControl, EventData, FaultStatus, GlobalStatus,
    IotlbGranularity, ProtectedMemoryEnable, QueuePointer, RootTableAddress,
};
use hw::vtd::root::AddressWidth;

use super::device_table::DeviceTable;
use super::event::FaultEvent;
use super::queue::Queue;
use super::registers::Registers;
use super::{Running, VtdUnit, facts};
use crate::addr::PhysAddr;
use crate::iommu::fault::FaultLog;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError};
use crate::pagetable::{SnoopControl, WalkCoherence};
use crate::platform::{OutOfFrames, OutOfInterrupts, Platform};

/// Why a unit could not be started. It was not turned on, and where it did not answer, what it may still use is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VtdStartError {
    /// Its register window does not hold its registers.
    #[error("VT-d unit: {0}")]
    Registers(#[from] MmioError),
    /// The unit lacks something this driver needs.
    #[error("VT-d unit at {unit} has no {feature}: this driver cannot use it")]
    Missing {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What it lacks.
        feature: &'static str,
    },
    /// Nothing answers where firmware says the unit is.
    #[error("nothing answers at {unit}, where the DMAR table says a VT-d unit is")]
    NotThere {
        /// Physical address of its registers.
        unit: PhysAddr,
    },
    /// No frame for its tables.
    #[error("VT-d unit: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// No interrupt for its faults.
    #[error("VT-d unit: {0}")]
    OutOfInterrupts(#[from] OutOfInterrupts),
    /// It did not answer.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// What the DMAR table says of a unit beside where its registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitPlace {
    /// PCI segment of its devices.
    pub(crate) segment: u16,
    /// Bits of a physical address on this host.
    pub(crate) host_address_bits: u32,
}

impl<P: Platform> VtdUnit<P> {
    /// Prepares the unit behind `mmio`: its tables (nothing present), its queue, its fault interrupt.
    /// Translation stays off until [`turn_on`](Self::turn_on), so that reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`VtdStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(
        platform: P,
        firmware: UnitPlace,
        mmio: Mmio<P>,
        bound_ms: u64,
        log: &Arc<FaultLog<P>>,
    ) -> Result<Arc<Self>, VtdStartError> {
        let unit = mmio.phys().start();
        let first = mmio.register::<u64>(regs::CAP_REG)?.read();
        if first == u64::MAX && mmio.register::<u64>(regs::ECAP_REG)?.read() == u64::MAX {
            return Err(VtdStartError::NotThere { unit });
        }
        let registers = Registers::new(platform, mmio, bound_ms)?;
        if !registers.cap().drd() || !registers.cap().dwd() {
            // Without draining an invalidation says nothing of requests that are under way.
            return Err(VtdStartError::Missing {
                unit,
                feature: "draining of requests (CAP.DRD, CAP.DWD)",
            });
        }
        if !registers.ecap().qi() {
            return Err(VtdStartError::Missing {
                unit,
                feature: "queued invalidation (ECAP.QI)",
            });
        }
        let facts = facts(&registers);
        let Some(widest) = (3..=5u32)
            .rev()
            .find(|levels| facts.levels & 1 << levels != 0)
            .and_then(AddressWidth::from_levels)
        else {
            return Err(VtdStartError::Missing {
                unit,
                feature: "page tables of 3 to 5 levels",
            });
        };
        silence(&registers)?;

        let ecap = registers.ecap();
        let coherence = if ecap.c() {
            WalkCoherence::Snooped
        } else {
            WalkCoherence::NotSnooped
        };
        let snoop = if ecap.sc() {
            SnoopControl::Force
        } else {
            SnoopControl::AsRequested
        };
        let tables = DeviceTable::new(platform, coherence)?;
        let queue = match Queue::new(platform) {
            Ok(queue) => queue,
            Err(error) => {
                // SAFETY: the unit is off and was never told of the tables.
                unsafe { tables.free() };
                return Err(error.into());
            }
        };
        let mut this = Self {
            platform,
            segment: firmware.segment,
            registers,
            facts,
            host_address_bits: firmware.host_address_bits.clamp(32, 52),
            coherence,
            snoop,
            widest,
            running: ManuallyDrop::new(Running { tables, queue }),
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
        };
        if let Err(error) = this.connect() {
            this.turn_off()?;
            return Err(error);
        }
        let mut opened = Err(OutOfInterrupts);
        let this = Arc::new_cyclic(|weak: &alloc::sync::Weak<Self>| {
            let (weak, log) = (weak.clone(), log.clone());
            let handler = Arc::new(move || {
                if let Some(unit) = weak.upgrade() {
                    unit.on_fault(&log);
                }
            });
            opened = this.event.open(platform, handler);
            this
        });
        match opened {
            Ok(interrupt) => {
                this.program_fault_event(interrupt.address.as_u64(), interrupt.data);
                Ok(this)
            }
            // The event stays masked: faults are read when somebody asks for them.
            Err(OutOfInterrupts) => {
                log::warn!("VT-d unit at {unit}: no interrupt for faults, they are polled");
                Ok(this)
            }
        }
    }

    /// Points the unit at its tables and queue, and empties its caches.
    fn connect(&self) -> Result<(), VtdStartError> {
        let registers = &self.registers;
        let root = RootTableAddress::new().with_rta(self.running.tables.root_phys());
        registers.write_u64(regs::RTADDR_REG, root.into_bits());
        registers.flush_write_buffer()?;
        registers.command("root table", |now| now.with_srtp(true), GlobalStatus::rtps)?;

        registers.write_u64(regs::IQT_REG, 0);
        registers.write_u64(regs::IQA_REG, self.running.queue.address().into_bits());
        registers.command("queue enable", |now| now.with_qie(true), GlobalStatus::qies)?;

        // A new root table leaves everything cached through the old one in place: context entries go
        // first, then translations (VT-d 6.6, 11.4.5).
        let cap = registers.cap();
        let contexts = ContextCache::new().with_g(ContextGranularity::Global);
        let translations = Iotlb::new()
            .with_g(IotlbGranularity::Global)
            .with_dr(cap.drd())
            .with_dw(cap.dwd());
        let commands = [contexts.to_words(), translations.to_words()];
        self.running
            .queue
            .submit(registers, &commands, "global invalidation")?;
        Ok(())
    }

    fn program_fault_event(&self, address: u64, data: u32) {
        let registers = &self.registers;
        registers.write_u32(regs::FEDATA_REG, EventData::from_bits(data).into_bits());
        let low = EventAddress::new().with_ma(address as u32);
        registers.write_u32(regs::FEADDR_REG, low.into_bits());
        registers.write_u32(regs::FEUADDR_REG, (address >> 32) as u32);
        registers.write_u32(
            regs::FECTL_REG,
            EventControl::new().with_im(false).into_bits(),
        );
    }

    /// Turns translation on: from now on requests without a context entry are refused. Only then what
    /// firmware may have protected until this moment is given up.
    pub(crate) fn turn_on(&self) -> Result<(), UnitError> {
        self.registers.command(
            "translation enable",
            |now| now.with_te(true),
            GlobalStatus::tes,
        )?;
        let cap = self.registers.cap();
        if cap.plmr() || cap.phmr() {
            disable_protected_memory(&self.registers)?;
        }
        Ok(())
    }

    /// Turns translation, the queue and the fault event off.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        silence(&self.registers)?;
        self.off.store(true, Ordering::Release);
        Ok(())
    }
}

/// Turns off whatever is on, whoever left it on: translation, interrupt remapping, the queue, pending faults.
/// Not protected memory regions: they are meant for the time without translation.
fn silence<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    registers.write_u32(
        regs::FECTL_REG,
        EventControl::new().with_im(true).into_bits(),
    );
    let status = GlobalStatus::from_bits(registers.read_u32(regs::GSTS_REG));
    if status.tes() {
        registers.command(
            "translation disable",
            |now| now.with_te(false),
            |now| !now.tes(),
        )?;
    }
    if status.ires() {
        let off = |now: regs::GlobalCommand| now.with_ire(false);
        registers.command("interrupt-remapping disable", off, |now| !now.ires())?;
    }
    if status.qies() {
        drain_queue(registers)?;
        registers.command(
            "queue disable",
            |now| now.with_qie(false),
            |now| !now.qies(),
        )?;
    }
    // Every recorded fault and every error bit: they are somebody else's (write 1 to clear, 11.4.9).
    let cap = registers.cap();
    for index in 0..cap.fault_records() {
        let cleared = hw::vtd::fault::FaultRecord::new().with_f(true).to_words()[1];
        registers.write_u64(regs::fault_record(cap, index) + 8, cleared);
    }
    let errors = FaultStatus::new()
        .with_pfo(true)
        .with_iqe(true)
        .with_ice(true)
        .with_ite(true);
    registers.write_u32(regs::FSTS_REG, errors.into_bits());
    Ok(())
}

/// Waits until the queue is empty or has stopped: one that is disabled with commands in it may still write their
/// status (VT-d 6.5.2).
fn drain_queue<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    let deadline_ns = registers.deadline_ns();
    let offset = |register| QueuePointer::from_bits(registers.read_u64(register)).offset();
    while offset(regs::IQH_REG) != offset(regs::IQT_REG)
        && !FaultStatus::from_bits(registers.read_u32(regs::FSTS_REG)).iqe()
    {
        registers.pause(deadline_ns, "queue drain")?;
    }
    Ok(())
}

/// Protected memory regions block DMA whatever the tables say, and are meant for the time before them
/// (VT-d 11.4.8).
fn disable_protected_memory<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    let deadline_ns = registers.deadline_ns();
    registers.write_u32(regs::PMEN_REG, ProtectedMemoryEnable::new().into_bits());
    while ProtectedMemoryEnable::from_bits(registers.read_u32(regs::PMEN_REG)).prs() {
        registers.pause(deadline_ns, "protected-memory disable")?;
    }
    Ok(())
}

impl<P: Platform> Drop for VtdUnit<P> {
    fn drop(&mut self) {
        self.event.free_interrupt(self.platform);
        if !self.off.load(Ordering::Acquire) {
            // It may still walk its tables: they are lost, not reused.
            log::error!(
                "{}: VT-d unit dropped while on: its tables are kept",
                self.registers.base()
            );
            return;
        }
        // SAFETY: taken once, here; nothing uses the unit after `drop`.
        let Running { tables, queue } = unsafe { ManuallyDrop::take(&mut self.running) };
        // SAFETY: translation and the queue are off, as GSTS confirmed in `turn_off`.
        unsafe {
            tables.free();
            queue.free();
        }
    }
}

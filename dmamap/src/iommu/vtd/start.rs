//! Turning a unit on and off (VT-d 10.2, 11.4.4): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::vtd::regs::{
    self, EventAddress, EventControl, EventData, FaultStatus, GlobalStatus, ProtectedMemoryEnable,
    QueuePointer, RootTableAddress,
};

use super::fault::Place;
use super::invalidation::Pages;
use super::mode::{Mode, widest};
use super::registers::Registers;
use super::tables::Tables;
use super::{KIND, Running, VtdUnit, invalidation, queue};
use crate::iommu::fault_event::FaultEvent;
use crate::iommu::setup::UnitSetup;
use crate::iommu::start_error::UnitStartError;
use crate::iommu::unit::UnitError;
use crate::pagetable::{SnoopControl, WalkCoherence};
use crate::platform::Platform;

impl<P: Platform> VtdUnit<P> {
    /// Prepares the unit of `setup`: its tables (nothing present), its queue, its fault interrupt. Translation stays
    /// off until [`translate`](Self::translate), so that reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(setup: UnitSetup<'_, P>) -> Result<Arc<Self>, UnitStartError> {
        let platform = setup.platform;
        let mmio = UnitSetup::registers(setup.place, KIND)?;
        let unit = mmio.phys().start();
        let first = mmio.register::<u64>(regs::CAP_REG)?.read();
        if first == u64::MAX && mmio.register::<u64>(regs::ECAP_REG)?.read() == u64::MAX {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        let registers = Registers::new(platform, mmio, setup.settings.wait_bound_ms)?;
        let missing = |feature| UnitStartError::Missing {
            kind: KIND,
            unit,
            feature,
        };
        if !registers.cap().drd() || !registers.cap().dwd() {
            // Without draining an invalidation says nothing of requests that are under way.
            return Err(missing("draining of requests (CAP.DRD, CAP.DWD)"));
        }
        if !registers.ecap().qi() {
            return Err(missing("queued invalidation (ECAP.QI)"));
        }
        let (cap, ecap) = (registers.cap(), registers.ecap());
        let mode = Mode::choose(cap, ecap, &setup.settings).map_err(missing)?;
        let registers = match mode {
            Mode::Legacy => registers,
            Mode::Scalable(_) => registers.with_wide_descriptors(),
        };
        silence(&registers)?;

        let snoop = if ecap.sc() {
            SnoopControl::Force
        } else {
            SnoopControl::AsRequested
        };
        let coherence = |snoops| match snoops {
            true => WalkCoherence::Snooped,
            false => WalkCoherence::NotSnooped,
        };
        // ECAP.C is about the tables that lead to page tables, whatever the mode.
        let snooped = (mode.snoops(ecap), ecap.sc());
        let tables = Tables::new(platform, coherence(ecap.c()), mode, widest(cap), snooped)?;
        let queue = match queue::new(platform, &registers) {
            Ok(queue) => queue,
            Err(error) => {
                // SAFETY: the unit is off and was never told of the tables.
                unsafe { tables.free() };
                return Err(error.into());
            }
        };
        let this = Self {
            platform,
            segment: setup.segment,
            registers,
            mode,
            pages: Pages::new(mode, cap),
            facts: mode.facts(cap, ecap),
            host_address_bits: setup.host_address_bits,
            coherence: coherence(mode.snoops(ecap)),
            snoop,
            running: ManuallyDrop::new(Running { tables, queue }),
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
            fault_place: lock_api::Mutex::new(Place::default()),
        };
        if let Err(error) = this.connect() {
            this.turn_off()?;
            return Err(error.into());
        }
        let this = Arc::new(this);
        this.event.open(platform, Arc::downgrade(&this), setup.log);
        this.program_fault_event();
        Ok(this)
    }

    /// Points the unit at its tables and queue, and empties its caches.
    fn connect(&self) -> Result<(), UnitError> {
        let registers = &self.registers;
        let root = RootTableAddress::new()
            .with_ttm(self.mode.table_mode())
            .with_rta(self.running.tables.root_phys());
        registers.write_u64(regs::RTADDR_REG, root.into_bits());
        registers.flush_write_buffer()?;
        registers.command("root table", |now| now.with_srtp(true), GlobalStatus::rtps)?;

        let queue = &self.running.queue;
        queue.reset(|| {
            registers.write_u64(regs::IQT_REG, 0);
            let address = queue::address(registers, queue);
            registers.write_u64(regs::IQA_REG, address.into_bits());
        });
        registers.command("queue enable", |now| now.with_qie(true), GlobalStatus::qies)?;
        queue.open();

        // A new root table leaves everything cached through the old one in place: what leads to translations
        // goes first, then translations (VT-d 6.6, 11.4.5).
        let batch = invalidation::everything(self.mode, registers.cap());
        queue.submit(registers, batch.as_slice(), "global invalidation")
    }

    /// Tells the unit which message to write when it has recorded a fault; it stays masked where there is none.
    fn program_fault_event(&self) {
        let Some(interrupt) = self.event.interrupt() else {
            return;
        };
        let registers = &self.registers;
        let address = interrupt.address().as_u64();
        let data = EventData::from_bits(interrupt.data());
        registers.write_u32(regs::FEDATA_REG, data.into_bits());
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
    pub(super) fn translate(&self) -> Result<(), UnitError> {
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

    /// Turns everything off and on again, with the tables as they are.
    pub(super) fn reset(&self) -> Result<(), UnitError> {
        self.running.queue.hold(&self.registers);
        silence(&self.registers)?;
        *self.fault_place.lock() = Place::default();
        self.connect()?;
        self.running.queue.cover();
        self.program_fault_event();
        self.translate()
    }

    /// Turns translation, the queue and the fault event off.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        silence(&self.registers)?;
        self.off.store(true, Ordering::Release);
        Ok(())
    }
}

/// Turns off whatever is on, whoever left it on: translation, interrupt remapping, the queue, the fault log in memory,
/// pending faults.
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
    if status.afls() {
        // Faults would go to somebody else's memory, and none to the records.
        let off = |now: regs::GlobalCommand| now.with_eafl(false);
        registers.command("fault-log disable", off, |now| !now.afls())?;
    }
    // Every recorded fault and every error bit: they are somebody else's (write 1 to clear, 11.4.9).
    let cap = registers.cap();
    for index in 0..cap.fault_records() {
        let cleared = hw::vtd::fault::FaultRecord::new().with_f(true).to_words()[1];
        registers.write_u64(regs::fault_record(cap, index) + 8, cleared);
    }
    // Those that are set: what the unit does not have is reserved.
    let set = FaultStatus::from_bits(registers.read_u32(regs::FSTS_REG));
    let errors = FaultStatus::new()
        .with_pfo(set.pfo())
        .with_afo(set.afo())
        .with_apf(set.apf())
        .with_iqe(set.iqe())
        .with_ice(set.ice())
        .with_ite(set.ite())
        .with_pro(set.pro());
    registers.write_u32(regs::FSTS_REG, errors.into_bits());
    Ok(())
}

/// Waits until the queue is empty or has stopped: one that is disabled with commands in it may still write their
/// status (VT-d 6.5.2).
fn drain_queue<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    let offset = |register| QueuePointer::from_bits(registers.read_u64(register)).offset();
    registers.bound().until("queue drain", || {
        offset(regs::IQH_REG) == offset(regs::IQT_REG)
            || FaultStatus::from_bits(registers.read_u32(regs::FSTS_REG)).iqe()
    })
}

/// Protected memory regions block DMA whatever the tables say, and are meant for the time before them
/// (VT-d 11.4.8).
fn disable_protected_memory<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    registers.write_u32(regs::PMEN_REG, ProtectedMemoryEnable::new().into_bits());
    registers.bound().until("protected-memory disable", || {
        !ProtectedMemoryEnable::from_bits(registers.read_u32(regs::PMEN_REG)).prs()
    })
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

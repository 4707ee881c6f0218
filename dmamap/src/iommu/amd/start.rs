//! Turning a unit on and off (48882 2.3, 3.4): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::amd::regs::{
    self, Control, ExclusionBase, ExclusionLimit, HostLevels, IntCapXt, MsiHeader, RingPointer,
    Status,
};

use super::device_table::DeviceTable;
use super::fault::EventLog;
use super::registers::Registers;
use super::{AmdUnit, KIND, Running, facts, queue};
use crate::iommu::fault_event::FaultEvent;
use crate::iommu::setup::UnitSetup;
use crate::iommu::start_error::UnitStartError;
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// How the unit is told where its interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageRegisters {
    /// By the mirror of its MSI capability.
    Msi,
    /// By destination and vector.
    IntCapXt,
    /// Not by its registers: events are read when somebody asks for them.
    None,
}

impl<P: Platform> AmdUnit<P> {
    /// Prepares the unit of `setup`: its tables (every device blocked), its rings, its interrupt. It stays off until
    /// [`translate`](Self::translate), so that reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(setup: UnitSetup<'_, P>) -> Result<Arc<Self>, UnitStartError> {
        let platform = setup.platform;
        let mmio = UnitSetup::registers(setup.place, KIND)?;
        let unit = mmio.phys().start();
        let answers = mmio.register::<u64>(regs::STATUS)?.read() != u64::MAX;
        if !answers && mmio.register::<u64>(regs::CONTROL)?.read() == u64::MAX {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        let registers = Registers::new(platform, mmio, setup.settings.wait_bound_ms)?;
        if registers.features().hats() == HostLevels::Reserved {
            return Err(UnitStartError::Missing {
                kind: KIND,
                unit,
                feature: "page tables of 4 to 6 levels (HATS)",
            });
        }
        silence(&registers)?;

        let coherence = setup.walks.unwrap_or(WalkCoherence::NotSnooped);
        let (running, log) = memory(platform, coherence)?;
        let this = Arc::new(Self {
            platform,
            facts: facts(&registers),
            registers,
            host_address_bits: setup.host_address_bits,
            coherence,
            streams: setup.streams,
            running: ManuallyDrop::new(running),
            log: ManuallyDrop::new(log),
            on: AtomicBool::new(false),
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
        });
        this.connect();
        if this.message_registers() != MessageRegisters::None {
            this.event.open(platform, Arc::downgrade(&this), setup.log);
        }
        Ok(this)
    }

    /// Points the unit, which is off, at its tables and rings. What it cached before stays cached.
    fn connect(&self) {
        let registers = &self.registers;
        let table = self.running.tables.base();
        registers.write_u64(regs::DEVICE_TABLE_BASE, table.into_bits());
        let start = RingPointer::from_offset(0).into_bits();
        let queue = &self.running.queue;
        queue.reset(|| {
            registers.write_u64(regs::COMMAND_BUFFER_BASE, queue::base(queue).into_bits());
            registers.write_u64(regs::COMMAND_HEAD, start);
            registers.write_u64(regs::COMMAND_TAIL, start);
        });
        self.log.reset(|| {
            registers.write_u64(regs::EVENT_LOG_BASE, self.log.base().into_bits());
            registers.write_u64(regs::EVENT_HEAD, start);
            registers.write_u64(regs::EVENT_TAIL, start);
        });
    }

    fn message_registers(&self) -> MessageRegisters {
        let features = self.registers.features();
        if features.msicapmmiosup() {
            MessageRegisters::Msi
        } else if features.xtsup() {
            MessageRegisters::IntCapXt
        } else {
            MessageRegisters::None
        }
    }

    /// Tells the unit which message to write when it has logged an event. What must be switched on for it, if there
    /// is one.
    fn program_event(&self) -> Control {
        let Some(interrupt) = self.event.interrupt() else {
            return Control::new();
        };
        let (address, data) = (interrupt.address().as_u64(), interrupt.data());
        let registers = &self.registers;
        let on = Control::new().with_eventinten(true);
        match self.message_registers() {
            MessageRegisters::Msi => {
                registers.write_u32(regs::MSI_ADDRESS_LOW, address as u32);
                registers.write_u32(regs::MSI_ADDRESS_HIGH, (address >> 32) as u32);
                registers.write_u32(regs::MSI_DATA, data);
                let header = MsiHeader::new().with_msien(true);
                registers.write_u32(regs::MSI_HEADER, header.into_bits());
                on
            }
            MessageRegisters::IntCapXt => {
                // The message, as x86 has it, in parts: bits 19:12 of the address and, for x2APIC, 63:40.
                let destination = (address >> 12 & 0xff) | (address >> 40 << 8);
                let interrupt = IntCapXt::new()
                    .with_destination(destination as u32)
                    .with_destmode(address & 4 != 0)
                    .with_vector(data as u8)
                    .with_dm(data & 0x100 != 0);
                registers.write_u64(regs::INT_CAP_XT_EVENT, interrupt.into_bits());
                on.with_intcapxten(true)
            }
            MessageRegisters::None => Control::new(),
        }
    }

    /// Turns the unit on: from now on every device obeys its entry. What the unit remembers of whoever used it before
    /// is forgotten at once; it does nothing while it is off, so that this cannot be done earlier.
    pub(super) fn translate(&self) -> Result<(), UnitError> {
        let interrupt = self.program_event();
        self.registers.switch(|now| {
            now.with_iommuen(true)
                .with_cmdbufen(true)
                .with_eventlogen(true)
                .with_coherent(self.coherence == WalkCoherence::Snooped)
                .with_eventinten(interrupt.eventinten())
                .with_intcapxten(interrupt.intcapxten())
        });
        self.running.queue.open();
        self.on.store(true, Ordering::Release);
        self.registers.until("enable", |status| {
            // Devices that are refused at once may fill the log at once.
            status.cmdbufrun() && (status.eventlogrun() || status.eventoverflow())
        })?;
        self.registers.expect_commands(true);
        self.forget_all()
    }

    /// Turns everything off and on again, with the tables as they are.
    pub(super) fn reset(&self) -> Result<(), UnitError> {
        self.running.queue.hold(self);
        silence(&self.registers)?;
        self.connect();
        self.translate()?;
        self.running.queue.cover();
        Ok(())
    }

    /// Turns the unit off, with nothing remembered: what it remembers now it would remember when it is on again, and
    /// then look into memory that is somebody else's.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        if let Err(error) = self.forget_all() {
            log::error!("an IOMMU unit is turned off with stale caches: {error}");
        }
        silence(&self.registers)?;
        self.on.store(false, Ordering::Release);
        self.off.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the unit may have cached anything, and does commands.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }
}

/// The structures in memory.
fn memory<P: Platform>(
    platform: P,
    coherence: WalkCoherence,
) -> Result<(Running<P>, EventLog<P>), OutOfFrames> {
    let log = EventLog::new(platform)?;
    let queue = match queue::new(platform) {
        Ok(queue) => queue,
        Err(error) => {
            // SAFETY: the unit is off and was never told of it.
            unsafe { log.free() };
            return Err(error);
        }
    };
    match DeviceTable::new(platform, coherence) {
        Ok(tables) => Ok((Running { tables, queue }, log)),
        Err(error) => {
            // SAFETY: the unit is off and was never told of them.
            unsafe {
                queue.free();
                log.free();
            }
            Err(error)
        }
    }
}

/// Turns off whatever is on, whoever left it on, but for how the unit's own requests travel, which is the board's
/// matter. Exclusion ranges go: what firmware says of them is mapped in its devices' domains, so that nothing else
/// may be.
fn silence<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    registers.expect_commands(false);
    registers.switch(|now| {
        Control::new()
            .with_httunen(now.httunen())
            .with_passpw(now.passpw())
            .with_respasspw(now.respasspw())
            .with_isoc(now.isoc())
            .with_coherent(now.coherent())
            .with_invtimeout(now.invtimeout())
    });
    registers.until("disable", |status| {
        !status.cmdbufrun() && !status.eventlogrun() && !status.pprlogrun() && !status.galogrun()
    })?;
    registers.write_u64(regs::EXCLUSION_BASE, ExclusionBase::new().into_bits());
    registers.write_u64(regs::EXCLUSION_LIMIT, ExclusionLimit::new().into_bits());
    // What happened before is somebody else's (write 1 to clear).
    let happened = Status::new()
        .with_eventoverflow(true)
        .with_eventlogint(true)
        .with_comwaitint(true)
        .with_pproverflow(true)
        .with_pprint(true)
        .with_galoverflow(true)
        .with_gaint(true);
    registers.write_u64(regs::STATUS, happened.into_bits());
    Ok(())
}

impl<P: Platform> Drop for AmdUnit<P> {
    fn drop(&mut self) {
        self.event.free_interrupt(self.platform);
        if !self.off.load(Ordering::Acquire) {
            // It may still walk its tables: they are lost, not reused.
            log::error!(
                "{}: AMD-Vi unit dropped while on: its tables are kept",
                self.registers.base()
            );
            return;
        }
        // SAFETY: each taken once, here; nothing uses the unit after `drop`.
        let (running, log) = unsafe {
            (
                ManuallyDrop::take(&mut self.running),
                ManuallyDrop::take(&mut self.log),
            )
        };
        let Running { tables, queue } = running;
        // SAFETY: the unit is off and its rings have stopped, as it confirmed in `turn_off`.
        unsafe {
            tables.free();
            queue.free();
            log.free();
        }
    }
}

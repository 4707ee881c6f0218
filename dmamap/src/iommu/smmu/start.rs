//! Turning a unit on and off (3.11, 6.3.9): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::smmu::command::{ConfigInvalidate, Opcode, TlbInvalidate};
use hw::smmu::regs::{
    self, Cr0, Cr1, Cr2, Gerror, IrqCtrl, MessageAddress, MessageAttributes, StallModel,
    StreamTableLevels, TableEndianness, TableFormats,
};

use super::device_table::{DeviceTable, Levels, MAX_STREAM_BITS};
use super::fault::EventQueue;
use super::registers::Registers;
use super::{KIND, Running, SmmuUnit, queue, shape};
use crate::iommu::fault_event::FaultEvent;
use crate::iommu::setup::UnitSetup;
use crate::iommu::start_error::UnitStartError;
use crate::iommu::unit::UnitError;
use crate::pagetable::{Granule, WalkCoherence};
use crate::platform::{OutOfFrames, Platform};
use crate::system::{self, Settings, Stage};

/// `*_IRQ_CFG2.MEMATTR`: messages are written as to a device (Device-nGnRE).
const MESSAGE_TO_DEVICE: u8 = 1;

impl<P: Platform> SmmuUnit<P> {
    /// Prepares the unit of `setup`: its tables (nothing valid), its queues, its fault interrupt. It stays off until
    /// [`translate`](Self::translate), so that reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(setup: UnitSetup<'_, P>) -> Result<Arc<Self>, UnitStartError> {
        let platform = setup.platform;
        let mmio = UnitSetup::registers(setup.place, KIND)?;
        let unit = mmio.phys().start();
        let registers = Registers::new(platform, mmio, setup.settings.wait_bound_ms)?;
        if registers.idr0().into_bits() == u32::MAX && registers.idr1().into_bits() == u32::MAX {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        let missing = |feature| UnitStartError::Missing {
            kind: KIND,
            unit,
            feature,
        };
        check(&registers).map_err(missing)?;
        let stage = stage(&registers, setup.settings).map_err(missing)?;
        let granule = granule(&registers, setup.settings).map_err(missing)?;
        let facts = shape::facts(&registers, stage, granule);
        if facts.tables.iter().next().is_none() {
            return Err(missing("page tables of 25 to 48 bits"));
        }
        let stream_bits = u32::from(registers.idr1().sidsize()).min(u32::BITS);
        let needed = u32::BITS - setup.streams.last_stream().leading_zeros();
        if needed > stream_bits.min(MAX_STREAM_BITS) {
            return Err(missing("stream ids as great as firmware says"));
        }

        let firmware_bypass = registers.bypass_attributes();
        if registers.control().smmuen() {
            // What firmware's tables refuse now must not pass while there are none.
            registers.set_bypass_attributes(firmware_bypass.with_abort(true))?;
        }
        silence(&registers)?;

        let coherence = setup.walks.unwrap_or(match registers.idr0().cohacc() {
            true => WalkCoherence::Snooped,
            false => WalkCoherence::NotSnooped,
        });
        let this = Self {
            platform,
            running: ManuallyDrop::new(running(platform, &registers, needed, coherence)?),
            streams: setup.streams,
            registers,
            facts,
            stage,
            granule,
            coherence,
            firmware_bypass,
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
        };
        if let Err(error) = this.connect() {
            this.turn_off()?;
            return Err(error.into());
        }
        let this = Arc::new(this);
        if this.registers.idr0().msi() {
            this.event.open(platform, Arc::downgrade(&this), setup.log);
        } else {
            log::info!(
                "{unit}: the SMMU's interrupts are wires: its faults are read when asked for"
            );
        }
        if let Err(error) = this.program_fault_event() {
            this.turn_off()?;
            return Err(error.into());
        }
        Ok(this)
    }

    /// Points the unit at its tables and queues, and empties its caches.
    fn connect(&self) -> Result<(), UnitError> {
        let registers = &self.registers;
        let Running {
            tables,
            queue,
            events,
        } = &*self.running;
        registers.write_u32(regs::CR1, self.access_attributes().into_bits());
        // Streams outside the table are told of, and broadcast invalidations not listened to: ASIDs are not the CPU's.
        let control = Cr2::new().with_ptm(true).with_recinvsid(true);
        registers.write_u32(regs::CR2, control.into_bits());
        registers.write_u64(regs::STRTAB_BASE, tables.base().into_bits());
        registers.write_u32(regs::STRTAB_BASE_CFG, tables.config().into_bits());

        queue.reset(|| {
            registers.write_u64(regs::CMDQ_BASE, queue::base(queue).into_bits());
            registers.write_u32(regs::CMDQ_PROD, 0);
            registers.write_u32(regs::CMDQ_CONS, 0);
        });
        let commands = Cr0::new().with_cmdqen(true);
        registers.set_control("command queue enable", commands)?;
        queue.open();

        // What the caches hold is unknown, after reset too (3.11).
        let all = ConfigInvalidate::new()
            .with_op(Opcode::CfgiSteRange as u8)
            .with_range(ConfigInvalidate::ALL);
        let translations = |opcode: Opcode| TlbInvalidate::new().with_op(opcode as u8).to_words();
        let commands_of_start = [
            all.to_words(),
            translations(Opcode::TlbiNsnhAll),
            translations(Opcode::TlbiEl2All),
        ];
        // Without hypervisor contexts there is no command for them.
        let count = if registers.idr0().hyp() { 3 } else { 2 };
        self.submit(&commands_of_start[..count], "global invalidation")?;

        events.reset(|| {
            registers.write_u64(regs::EVENTQ_BASE, events.base().into_bits());
            registers.write_u32(regs::EVENTQ_PROD, 0);
            registers.write_u32(regs::EVENTQ_CONS, 0);
        });
        registers.set_control("event queue enable", commands.with_eventqen(true))
    }

    /// How the unit reads its tables and queues.
    fn access_attributes(&self) -> Cr1 {
        let (cacheability, shareability) = match self.coherence {
            WalkCoherence::Snooped => (Cr1::WRITE_BACK, Cr1::INNER_SHAREABLE),
            WalkCoherence::NotSnooped => (Cr1::NON_CACHEABLE, Cr1::OUTER_SHAREABLE),
        };
        Cr1::new()
            .with_queue_ic(cacheability)
            .with_queue_oc(cacheability)
            .with_queue_sh(shareability)
            .with_table_ic(cacheability)
            .with_table_oc(cacheability)
            .with_table_sh(shareability)
    }

    /// Tells the unit which message to write when it has recorded an event or met an error; its interrupts stay off
    /// where there is none.
    fn program_fault_event(&self) -> Result<(), UnitError> {
        let Some(interrupt) = self.event.interrupt() else {
            return Ok(());
        };
        let registers = &self.registers;
        let address = MessageAddress::new().with_addr(interrupt.address().as_u64());
        let attributes = MessageAttributes::new().with_memattr(MESSAGE_TO_DEVICE);
        for [first, second, third] in [
            [
                regs::EVENTQ_IRQ_CFG0,
                regs::EVENTQ_IRQ_CFG1,
                regs::EVENTQ_IRQ_CFG2,
            ],
            [
                regs::GERROR_IRQ_CFG0,
                regs::GERROR_IRQ_CFG1,
                regs::GERROR_IRQ_CFG2,
            ],
        ] {
            registers.write_u64(first, address.into_bits());
            registers.write_u32(second, interrupt.data());
            registers.write_u32(third, attributes.into_bits());
        }
        let on = IrqCtrl::new()
            .with_eventq_irqen(true)
            .with_gerror_irqen(true);
        registers.set_interrupts(on)
    }

    /// Turns translation on: from now on requests without a valid stream table entry are refused.
    pub(super) fn translate(&self) -> Result<(), UnitError> {
        let on = self.registers.control().with_smmuen(true);
        self.registers.set_control("translation enable", on)
    }

    /// Turns everything off and on again, with the tables as they are. Requests in between are aborted, whatever
    /// becomes of them while the unit is off for good.
    pub(super) fn reset(&self) -> Result<(), UnitError> {
        self.running.queue.hold(&self.registers);
        let aborted = self.firmware_bypass.with_abort(true);
        self.registers.set_bypass_attributes(aborted)?;
        silence(&self.registers)?;
        self.connect()?;
        self.running.queue.cover();
        self.program_fault_event()?;
        self.translate()
    }

    /// Turns translation, the queues and the interrupts off; requests pass, or not, as firmware had it.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        if self.registers.bypass_attributes() != self.firmware_bypass {
            self.registers.set_bypass_attributes(self.firmware_bypass)?;
        }
        silence(&self.registers)?;
        self.off.store(true, Ordering::Release);
        Ok(())
    }
}

/// What the unit reads and writes, or nothing.
fn running<P: Platform>(
    platform: P,
    registers: &Registers<P>,
    stream_bits: u32,
    coherence: WalkCoherence,
) -> Result<Running<P>, OutOfFrames> {
    let levels = match registers.idr0().st_level() {
        StreamTableLevels::TwoLevel => Levels::Two,
        _ => Levels::One,
    };
    let tables = DeviceTable::new(platform, levels, stream_bits, coherence)?;
    let queue = match queue::new(platform, coherence) {
        Ok(queue) => queue,
        Err(error) => {
            // SAFETY: the unit is off and was never told of the tables.
            unsafe { tables.free() };
            return Err(error);
        }
    };
    match EventQueue::new(platform, registers.idr1().eventqs(), coherence) {
        Ok(events) => Ok(Running {
            tables,
            queue,
            events,
        }),
        Err(error) => {
            // SAFETY: the unit is off and was never told of either.
            unsafe {
                tables.free();
                queue.free();
            }
            Err(error)
        }
    }
}

/// What this driver cannot do without.
fn check<P: Platform>(registers: &Registers<P>) -> Result<(), &'static str> {
    let (idr0, idr1) = (registers.idr0(), registers.idr1());
    if !matches!(idr0.ttf(), TableFormats::AArch64 | TableFormats::Both) {
        return Err("page tables in VMSAv8-64 format (IDR0.TTF)");
    }
    if !matches!(
        idr0.ttendian(),
        TableEndianness::Mixed | TableEndianness::Little
    ) {
        return Err("little-endian page tables (IDR0.TTENDIAN)");
    }
    if idr0.stall_model() == StallModel::Stall {
        // A stalled request waits for software that may never come.
        return Err("termination of requests that fault (IDR0.STALL_MODEL)");
    }
    if idr1.tables_preset() || idr1.queues_preset() {
        return Err("tables and queues in memory of the driver's (IDR1.TABLES_PRESET)");
    }
    if idr1.cmdqs() < queue::LOG2_SIZE {
        return Err("command queue of 256 entries (IDR1.CMDQS)");
    }
    Ok(())
}

/// The stage that translates: the first, if the unit has it and nobody chose the other.
fn stage<P: Platform>(registers: &Registers<P>, settings: Settings) -> Result<Stage, &'static str> {
    let (first, second) = (registers.idr0().s1p(), registers.idr0().s2p());
    match settings.stage {
        Some(Stage::First) if !first => Err("stage 1 (IDR0.S1P)"),
        Some(Stage::Second) if !second => Err("stage 2 (IDR0.S2P)"),
        Some(stage) => Ok(stage),
        None if first => Ok(Stage::First),
        None if second => Ok(Stage::Second),
        None => Err("stage of translation (IDR0.S1P, IDR0.S2P)"),
    }
}

/// The granule of page tables: the smallest, if nobody chose another.
fn granule<P: Platform>(
    registers: &Registers<P>,
    settings: Settings,
) -> Result<Granule, &'static str> {
    let idr5 = registers.idr5();
    let all = [
        (system::Granule::FourKib, Granule::FourKib, idr5.gran4k()),
        (
            system::Granule::SixteenKib,
            Granule::SixteenKib,
            idr5.gran16k(),
        ),
        (
            system::Granule::SixtyFourKib,
            Granule::SixtyFourKib,
            idr5.gran64k(),
        ),
    ];
    all.into_iter()
        .find(|(name, _, walked)| *walked && settings.granule.is_none_or(|wish| wish == *name))
        .map(|(_, granule, _)| granule)
        .ok_or("page tables of that granule (IDR5)")
}

/// Turns off whatever is on, whoever left it on: translation, queues, interrupts, pending errors.
fn silence<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    let control = registers.control();
    if control.smmuen() {
        registers.set_control("translation disable", control.with_smmuen(false))?;
    }
    registers.set_interrupts(IrqCtrl::new())?;
    registers.set_control("queue disable", Cr0::new())?;
    // Every error: they are somebody else's.
    let errors = registers.active_errors();
    if errors != Gerror::new() {
        registers.acknowledge(errors);
    }
    Ok(())
}

impl<P: Platform> Drop for SmmuUnit<P> {
    fn drop(&mut self) {
        self.event.free_interrupt(self.platform);
        if !self.off.load(Ordering::Acquire) {
            // It may still walk its tables: they are lost, not reused.
            log::error!(
                "{}: SMMU dropped while on: its tables are kept",
                self.registers.base()
            );
            return;
        }
        // SAFETY: taken once, here; nothing uses the unit after `drop`.
        let Running {
            tables,
            queue,
            events,
        } = unsafe { ManuallyDrop::take(&mut self.running) };
        // SAFETY: translation and the queues are off, as CR0ACK confirmed in `turn_off`.
        unsafe {
            tables.free();
            queue.free();
            events.free();
        }
    }
}

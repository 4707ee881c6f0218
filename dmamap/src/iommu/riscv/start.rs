//! Turning a unit on and off (6.2): every step bounded, nothing assumed of what firmware left.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use hw::riscv::command::{DirectoryInvalidation, Fence, TableInvalidation};
use hw::riscv::directory::ContextFormat;
use hw::riscv::regs::{
    self, CommandQueueControl, FaultQueueControl, Features, InterruptPending, IommuMode,
};

use super::device_table::DeviceTable;
use super::fault::FaultQueue;
use super::message::Messages;
use super::registers::Registers;
use super::{KIND, RiscvUnit, Running, facts, has_first_stage, has_second_stage, queue};
use crate::iommu::command_ring::Batch;
use crate::iommu::fault_event::FaultEvent;
use crate::iommu::setup::{UnitPlace, UnitSetup};
use crate::iommu::start_error::UnitStartError;
use crate::iommu::unit::UnitError;
use crate::mmio::Mmio;
use crate::pagetable::WalkCoherence;
use crate::pci::Function;
use crate::platform::Platform;
use crate::resource::ResourceTree;
use crate::system::Stage;

/// The BAR of a function that holds the registers.
const REGISTER_BAR: u8 = 0;

/// Least bits of a physical address of a unit that reaches anything.
const MIN_ADDRESS_BITS: u32 = 32;

impl<P: Platform> RiscvUnit<P> {
    /// Prepares the unit of `setup`: its directory (no context valid), its queues, its fault interrupt. It refuses
    /// every request until [`translate`](Self::translate), and reserved regions can be mapped first.
    ///
    /// # Errors
    /// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
    pub(crate) fn prepare(setup: UnitSetup<'_, P>) -> Result<Arc<Self>, UnitStartError> {
        let platform = setup.platform;
        let (mmio, messages) = reach(setup.place, setup.tree)?;
        let unit = mmio.phys().start();
        if mmio.register::<u64>(regs::CAPABILITIES)?.read() == u64::MAX {
            return Err(UnitStartError::NotThere { kind: KIND, unit });
        }
        let registers = Registers::new(platform, mmio, setup.settings.wait_bound_ms)?;
        let capabilities = registers.capabilities();
        let missing = |feature| UnitStartError::Missing {
            kind: KIND,
            unit,
            feature,
        };
        if capabilities.major_version() != 1 {
            return Err(missing("registers of version 1 of the specification"));
        }
        let (first, second) = (
            has_first_stage(capabilities),
            has_second_stage(capabilities),
        );
        let stage = match (setup.settings.stage, first, second) {
            (Some(Stage::First) | None, true, _) => Stage::First,
            (Some(Stage::Second) | None, _, true) => Stage::Second,
            (Some(Stage::First), false, _) => return Err(missing("first stage of 64-bit tables")),
            (_, _, false) => return Err(missing("stage of 64-bit tables as asked for")),
        };
        let phys_bits = setup.host_address_bits.min(capabilities.pas().into());
        if phys_bits < MIN_ADDRESS_BITS {
            return Err(missing("physical addresses of 32 bits"));
        }
        silence(&registers)?;
        if !choose_features(&registers) {
            return Err(missing("little-endian structures and 64-bit addresses"));
        }

        let coherence = setup.walks.unwrap_or(WalkCoherence::Snooped);
        let format = if capabilities.msi_flat() {
            ContextFormat::Extended
        } else {
            ContextFormat::Base
        };
        let running = Running::new(platform, coherence, format)?;
        let mut this = Self {
            platform,
            registers,
            messages,
            streams: setup.streams,
            facts: facts(capabilities, stage),
            stage,
            phys_bits,
            coherence,
            running: ManuallyDrop::new(running),
            // From here on `Drop` gives everything back once `turn_off` has succeeded.
            off: AtomicBool::new(false),
            event: FaultEvent::new(),
        };
        let levels = match this.connect().and_then(|()| this.probe()) {
            Ok(levels) => levels,
            Err(error) => {
                this.turn_off()?;
                return Err(error.into());
            }
        };
        let Some(levels) = levels else {
            this.turn_off()?;
            return Err(missing("device directory of any depth"));
        };
        this.running.tables.deepen(levels);
        let this = Arc::new(this);
        if !Features::from_bits(this.registers.read_u32(regs::FCTL)).wsi() {
            this.event.open(platform, Arc::downgrade(&this), setup.log);
        }
        if let Err(error) = this.program_fault_event() {
            this.turn_off()?;
            return Err(error.into());
        }
        Ok(this)
    }

    /// Gives the unit its queues, and empties its caches.
    fn connect(&self) -> Result<(), UnitError> {
        let registers = &self.registers;
        let Running { queue, faults, .. } = &*self.running;
        queue.reset(|| {
            registers.write_u64(regs::CQB, queue::base(queue).into_bits());
            registers.write_u32(regs::CQT, 0);
        });
        let on = CommandQueueControl::new().with_cqen(true);
        registers.write_cqcsr("command queue enable", on)?;
        queue.open();

        faults.reset(|| {
            registers.write_u64(regs::FQB, faults.base().into_bits());
            registers.write_u32(regs::FQH, 0);
        });
        let on = FaultQueueControl::new().with_fqen(true);
        registers.write_fqcsr("fault queue enable", on)?;

        // A unit that is off may still remember what it read before (5.5): contexts go first, then translations.
        let mut batch = Batch::one(DirectoryInvalidation::ddt().to_words());
        batch.push(Fence::new().to_words());
        if has_first_stage(registers.capabilities()) {
            batch.push(TableInvalidation::vma().to_words());
        }
        if has_second_stage(registers.capabilities()) {
            batch.push(TableInvalidation::gvma().to_words());
        }
        queue.submit(registers, batch.as_slice(), "global invalidation")
    }

    /// Levels of the directory: the fewest that reach every device of the unit, of those that it takes; where none
    /// do, the most that it takes. Tried with a directory in which nothing is valid, which refuses as much as `Off`
    /// does.
    fn probe(&self) -> Result<Option<u32>, UnitError> {
        const WHAT: &str = "device directory probe";
        let (registers, tables) = (&self.registers, &self.running.tables);
        let root = tables.root_phys();
        let last = self.streams.last_stream();
        let mut taken = None;
        for levels in 1..=3 {
            let Some(mode) = IommuMode::from_levels(levels) else {
                continue;
            };
            let is_taken = registers.set_mode(WHAT, root, mode)? == mode;
            self.switch_off()?;
            if is_taken {
                taken = Some(levels);
                if last >> tables.format().device_id_bits(levels) == 0 {
                    break;
                }
            }
        }
        Ok(taken)
    }

    /// Tells the unit which message to write when it has recorded a fault; it writes none where there is none.
    fn program_fault_event(&self) -> Result<(), UnitError> {
        let Some(interrupt) = self.event.interrupt() else {
            return Ok(());
        };
        if let Err(error) = self.messages.program(&self.registers, interrupt) {
            log::info!("faults of an IOMMU unit are read only when asked for: {error}");
            return Ok(());
        }
        let told = FaultQueueControl::new().with_fqen(true).with_fie(true);
        self.registers.write_fqcsr("fault interrupt enable", told)
    }

    /// Turns translation on: from now on requests of devices without a context are refused.
    pub(super) fn translate(&self) -> Result<(), UnitError> {
        let tables = &self.running.tables;
        let mode = IommuMode::from_levels(tables.levels()).unwrap_or(IommuMode::Reserved);
        let now = self
            .registers
            .set_mode("translation enable", tables.root_phys(), mode)?;
        if now == mode {
            return Ok(());
        }
        Err(UnitError::Unsupported {
            unit: self.registers.base(),
            feature: "device directory as deep as it had before",
        })
    }

    fn switch_off(&self) -> Result<(), UnitError> {
        switch_off(&self.registers)
    }

    /// Turns everything off and on again, with the directory as it is.
    pub(super) fn reset(&self) -> Result<(), UnitError> {
        self.running.queue.hold(&self.registers);
        silence(&self.registers)?;
        if !choose_features(&self.registers) {
            return Err(UnitError::Unsupported {
                unit: self.registers.base(),
                feature: "little-endian structures as it had before",
            });
        }
        self.connect()?;
        self.running.queue.cover();
        self.program_fault_event()?;
        self.translate()
    }

    /// Turns translation, the queues and the fault event off. Every request is refused then.
    pub(super) fn turn_off(&self) -> Result<(), UnitError> {
        silence(&self.registers)?;
        self.off.store(true, Ordering::Release);
        Ok(())
    }
}

impl<P: Platform> Running<P> {
    fn new(
        platform: P,
        coherence: WalkCoherence,
        format: ContextFormat,
    ) -> Result<Self, UnitStartError> {
        let tables = DeviceTable::new(platform, coherence, format)?;
        let queue = match queue::new(platform, coherence) {
            Ok(queue) => queue,
            Err(error) => {
                // SAFETY: the unit is off and was never told of it.
                unsafe { tables.free() };
                return Err(error.into());
            }
        };
        match FaultQueue::new(platform, coherence) {
            Ok(faults) => Ok(Self {
                tables,
                queue,
                faults,
            }),
            Err(error) => {
                // SAFETY: as above.
                unsafe {
                    tables.free();
                    queue.free();
                }
                Err(error.into())
            }
        }
    }
}

/// The registers of a unit, wherever it is found, and how it sends messages.
fn reach<P: Platform>(
    place: UnitPlace<P>,
    tree: &mut ResourceTree,
) -> Result<(Mmio<P>, Messages<P>), UnitStartError> {
    match place {
        UnitPlace::Registers(mmio) => Ok((mmio, Messages::Registers)),
        UnitPlace::Function(function) => {
            let mut mmio = function.claim_bar(REGISTER_BAR, KIND, tree)?;
            let messages = messages_of(&function, tree, &mut mmio);
            // SAFETY: the function is the IOMMU: what it reads and writes of itself are the tables and queues that this
            // driver gives it, and messages.
            unsafe { function.enable_bus_master() };
            Ok((mmio, messages))
        }
    }
}

fn messages_of<P: Platform>(
    function: &Function<P>,
    tree: &mut ResourceTree,
    mmio: &mut Mmio<P>,
) -> Messages<P> {
    match function.claim_msix(KIND, tree, Some(mmio)) {
        Ok(table) => Messages::Msix(table),
        Err(error) => {
            log::info!("{}: {error}", function.address());
            Messages::Registers
        }
    }
}

/// Chooses little-endian structures, 64-bit addresses and interrupts by message, the unit being off (5.4). False
/// where the unit has not the first two; whether it has the third its register says from now on.
fn choose_features<P: Platform>(registers: &Registers<P>) -> bool {
    let read = || Features::from_bits(registers.read_u32(regs::FCTL));
    let wanted = read().with_be(false).with_wsi(false).with_gxl(false);
    if read() != wanted {
        registers.write_u32(regs::FCTL, wanted.into_bits());
    }
    !read().be() && !read().gxl()
}

/// Has the unit refuse every request, the directory being where it was: the manual forbids to move it now (5.5).
fn switch_off<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    const WHAT: &str = "translation disable";
    let bound = registers.bound();
    bound.until(WHAT, || !registers.read_ddtp().busy())?;
    let now = registers.read_ddtp();
    if now.iommu_mode() == IommuMode::Off {
        return Ok(());
    }
    match registers.set_mode(WHAT, now.root(), IommuMode::Off)? {
        IommuMode::Off => Ok(()),
        _ => Err(bound.timed_out(WHAT)),
    }
}

/// Turns off whatever is on, whoever left it on: translation, the queues, pending interrupts.
fn silence<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    switch_off(registers)?;
    let control = registers.read_cqcsr();
    if control.cqen() || control.cqon() {
        drain_queue(registers)?;
        registers.write_cqcsr("command queue disable", CommandQueueControl::new())?;
    }
    let control = registers.read_fqcsr();
    if control.fqen() || control.fqon() {
        registers.write_fqcsr("fault queue disable", FaultQueueControl::new())?;
    }
    registers.disable_page_requests()?;
    let all = InterruptPending::new()
        .with_cip(true)
        .with_fip(true)
        .with_pmip(true)
        .with_pip(true);
    registers.write_u32(regs::IPSR, all.into_bits());
    Ok(())
}

/// Waits until the queue is empty or has stopped: a command of one that is disabled may be carried out or not (5.15).
fn drain_queue<P: Platform>(registers: &Registers<P>) -> Result<(), UnitError> {
    registers.bound().until("command queue drain", || {
        let control = registers.read_cqcsr();
        registers.read_u32(regs::CQH) == registers.read_u32(regs::CQT)
            || control.cqmf()
            || control.cmd_ill()
            || control.cmd_to()
    })
}

impl<P: Platform> Drop for RiscvUnit<P> {
    fn drop(&mut self) {
        self.event.free_interrupt(self.platform);
        if !self.off.load(Ordering::Acquire) {
            // It may still walk its tables: they are lost, not reused.
            log::error!(
                "{}: RISC-V IOMMU dropped while on: its tables are kept",
                self.registers.base()
            );
            return;
        }
        // SAFETY: taken once, here; nothing uses the unit after `drop`.
        let Running {
            tables,
            queue,
            faults,
        } = unsafe { ManuallyDrop::take(&mut self.running) };
        // SAFETY: translation and both queues are off, as the registers confirmed in `turn_off`.
        unsafe {
            tables.free();
            queue.free();
            faults.free();
        }
    }
}

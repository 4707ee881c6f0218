//! The register window of a unit, and the registers that are busy for a while after a write (5.5, 5.15, 5.16).

use hw::riscv::regs::{
    self, Capabilities, CommandQueueControl, Ddtp, FaultQueueControl, IommuMode,
    PageRequestQueueControl,
};

use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError, Register, RegisterValue};
use crate::platform::Platform;

/// A unit's registers.
pub(super) struct Registers<P: Platform> {
    mmio: Mmio<P>,
    /// What the unit is told of the command queue by.
    tail: Register<P, u32>,
    capabilities: Capabilities,
    bound: Bound<P>,
    /// Whoever writes back what `fqcsr` says is alone with it: who clears an error must not undo what another has switched.
    fqcsr: lock_api::Mutex<P::Lock, ()>,
}

impl<P: Platform> Registers<P> {
    /// Takes the window over; `bound_ms` limits every wait on the unit.
    ///
    /// # Errors
    /// [`MmioError`] when a register of the unit lies outside the window its firmware table gave.
    pub(super) fn new(platform: P, mmio: Mmio<P>, bound_ms: u64) -> Result<Self, MmioError> {
        let capabilities =
            Capabilities::from_bits(mmio.register::<u64>(regs::CAPABILITIES)?.read());
        // The last one that is used, the message table aside.
        mmio.register::<u64>(regs::ICVEC)?;
        let tail = mmio.register::<u32>(regs::CQT)?;
        let bound = Bound::new(platform, mmio.phys().start(), bound_ms);
        Ok(Self {
            mmio,
            tail,
            capabilities,
            bound,
            fqcsr: lock_api::Mutex::new(()),
        })
    }

    pub(super) fn base(&self) -> PhysAddr {
        self.mmio.phys().start()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    pub(super) fn read_u32(&self, offset: u64) -> u32 {
        self.register(offset).read()
    }

    pub(super) fn read_u64(&self, offset: u64) -> u64 {
        self.register(offset).read()
    }

    pub(super) fn write_u32(&self, offset: u64, value: u32) {
        self.register(offset).write(value);
    }

    pub(super) fn write_u64(&self, offset: u64, value: u64) {
        self.register(offset).write(value);
    }

    /// The register that says how far the command queue is filled.
    pub(super) fn tail(&self) -> &Register<P, u32> {
        &self.tail
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.mmio
            .register(offset)
            .expect("`new` checked the furthest registers")
    }

    /// The message table's registers, where they are in the window.
    pub(super) fn message_register<T: RegisterValue>(
        &self,
        offset: u64,
    ) -> Result<Register<P, T>, MmioError> {
        self.mmio.register(offset)
    }

    /// The bound of every wait on the unit.
    pub(super) fn bound(&self) -> &Bound<P> {
        &self.bound
    }

    pub(super) fn read_ddtp(&self) -> Ddtp {
        Ddtp::from_bits(self.read_u64(regs::DDTP))
    }

    /// Changes the mode, and returns the one that came of it: the unit may not have the one asked for (5.5).
    pub(super) fn set_mode(
        &self,
        what: &'static str,
        root: u64,
        mode: IommuMode,
    ) -> Result<IommuMode, UnitError> {
        self.bound.until(what, || !self.read_ddtp().busy())?;
        let ddtp = Ddtp::new().with_root(root).with_iommu_mode(mode);
        self.write_u64(regs::DDTP, ddtp.into_bits());
        self.bound.until(what, || !self.read_ddtp().busy())?;
        Ok(self.read_ddtp().iommu_mode())
    }

    pub(super) fn read_cqcsr(&self) -> CommandQueueControl {
        CommandQueueControl::from_bits(self.read_u32(regs::CQCSR))
    }

    /// Writes the command queue's control register, and waits until the queue is on or off as it says.
    pub(super) fn write_cqcsr(
        &self,
        what: &'static str,
        value: CommandQueueControl,
    ) -> Result<(), UnitError> {
        self.bound.until(what, || !self.read_cqcsr().busy())?;
        self.write_u32(regs::CQCSR, value.into_bits());
        self.bound.until(what, || {
            let now = self.read_cqcsr();
            !now.busy() && now.cqon() == value.cqen()
        })
    }

    pub(super) fn read_fqcsr(&self) -> FaultQueueControl {
        FaultQueueControl::from_bits(self.read_u32(regs::FQCSR))
    }

    /// Writes the fault queue's control register, and waits until the queue is on or off as it says.
    pub(super) fn write_fqcsr(
        &self,
        what: &'static str,
        value: FaultQueueControl,
    ) -> Result<(), UnitError> {
        self.bound.until(what, || self.change_fqcsr(|_| value))?;
        self.bound.until(what, || {
            let now = self.read_fqcsr();
            !now.busy() && now.fqon() == value.fqen()
        })
    }

    /// Writes to the fault queue's control register what `change` makes of it, unless it is busy; whether it does.
    pub(super) fn change_fqcsr(
        &self,
        change: impl FnOnce(FaultQueueControl) -> FaultQueueControl,
    ) -> bool {
        let _alone = self.fqcsr.lock();
        let now = self.read_fqcsr();
        if now.busy() {
            return false;
        }
        self.write_u32(regs::FQCSR, change(now).into_bits());
        true
    }

    /// Turns the page-request queue off, which nobody uses, on units that have one.
    pub(super) fn disable_page_requests(&self) -> Result<(), UnitError> {
        const WHAT: &str = "page-request queue disable";
        let read = || PageRequestQueueControl::from_bits(self.read_u32(regs::PQCSR));
        if !self.capabilities.ats() {
            return Ok(());
        }
        self.bound.until(WHAT, || !read().busy())?;
        self.write_u32(regs::PQCSR, PageRequestQueueControl::new().into_bits());
        self.bound.until(WHAT, || !read().busy() && !read().pqon())
    }
}

//! The register window of a unit, and what its control register says.

use core::sync::atomic::{AtomicBool, Ordering};

use hw::amd::regs::{self, Control, ExtendedFeatures, Status};

use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError, Register, RegisterValue};
use crate::platform::Platform;

/// A unit's registers.
pub(super) struct Registers<P: Platform> {
    mmio: Mmio<P>,
    /// What the unit is told of the command buffer by.
    tail: Register<P, u64>,
    features: ExtendedFeatures,
    bound: Bound<P>,
    /// What is on, as it was last written: one who changes a switch must not undo another's change.
    control: lock_api::Mutex<P::Lock, Control>,
    /// Whether the unit has confirmed that it does commands, and was not told to end since.
    does_commands: AtomicBool,
}

impl<P: Platform> Registers<P> {
    /// Takes the window over; `bound_ms` limits every wait on the unit.
    ///
    /// # Errors
    /// [`MmioError`] when a register of the unit lies outside the window its firmware table gave.
    pub(super) fn new(platform: P, mmio: Mmio<P>, bound_ms: u64) -> Result<Self, MmioError> {
        let features = mmio.register::<u64>(regs::EXTENDED_FEATURES)?.read();
        let control = mmio.register::<u64>(regs::CONTROL)?.read();
        // The furthest one that is used.
        mmio.register::<u64>(regs::STATUS)?;
        let tail = mmio.register::<u64>(regs::COMMAND_TAIL)?;
        let bound = Bound::new(platform, mmio.phys().start(), bound_ms);
        Ok(Self {
            mmio,
            tail,
            features: ExtendedFeatures::from_bits(features),
            bound,
            control: lock_api::Mutex::new(Control::from_bits(control)),
            does_commands: AtomicBool::new(false),
        })
    }

    pub(super) fn base(&self) -> PhysAddr {
        self.mmio.phys().start()
    }

    pub(super) fn features(&self) -> ExtendedFeatures {
        self.features
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

    /// The register that says how far the command buffer is filled.
    pub(super) fn tail(&self) -> &Register<P, u64> {
        &self.tail
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.mmio
            .register(offset)
            .expect("`new` checked the furthest register")
    }

    /// The bound of every wait on the unit.
    pub(super) fn bound(&self) -> &Bound<P> {
        &self.bound
    }

    pub(super) fn status(&self) -> Status {
        Status::from_bits(self.read_u64(regs::STATUS))
    }

    /// Whether nobody answers any more: reserved bits of the status register are read as zeroes.
    pub(super) fn is_gone(&self) -> bool {
        self.status().into_bits() == u64::MAX
    }

    /// Whether the command buffer stopped, though nobody told it to.
    pub(super) fn has_stopped(&self) -> bool {
        self.does_commands.load(Ordering::Acquire) && !self.status().cmdbufrun()
    }

    /// From now on a command buffer that does not run has stopped; or no longer.
    pub(super) fn expect_commands(&self, expected: bool) {
        self.does_commands.store(expected, Ordering::Release);
    }

    /// Whether the unit is on, as far as software said.
    pub(super) fn is_enabled(&self) -> bool {
        self.control.lock().iommuen()
    }

    /// Changes what is on.
    pub(super) fn switch(&self, change: impl FnOnce(Control) -> Control) {
        let mut control = self.control.lock();
        *control = change(*control);
        self.write_u64(regs::CONTROL, control.into_bits());
    }

    /// Waits until the status register is as `done` says.
    pub(super) fn until(
        &self,
        command: &'static str,
        done: impl Fn(&Status) -> bool,
    ) -> Result<(), UnitError> {
        self.bound.until(command, || done(&self.status()))
    }
}

//! The register window of a unit, what it says it can do, and registers that acknowledge late.

use hw::smmu::regs::{self, Cr0, Gbpa, Idr0, Idr1, Idr3, Idr5, IrqCtrl, address_bits};

use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError, Register, RegisterValue};
use crate::platform::Platform;

/// A unit's registers, with what identifies it.
pub(super) struct Registers<P: Platform> {
    mmio: Mmio<P>,
    /// What the unit is told of the command queue by.
    producer: Register<P, u32>,
    idr0: Idr0,
    idr1: Idr1,
    idr3: Idr3,
    idr5: Idr5,
    bound: Bound<P>,
}

impl<P: Platform> Registers<P> {
    /// Takes the window over; `bound_ms` limits every wait on the unit.
    ///
    /// # Errors
    /// [`MmioError`] when a register of the unit lies outside the window its firmware table gave.
    pub(super) fn new(platform: P, mmio: Mmio<P>, bound_ms: u64) -> Result<Self, MmioError> {
        let read = |offset| Ok::<_, MmioError>(mmio.register::<u32>(offset)?.read());
        let idr0 = Idr0::from_bits(read(regs::IDR0)?);
        let idr1 = Idr1::from_bits(read(regs::IDR1)?);
        let idr3 = Idr3::from_bits(read(regs::IDR3)?);
        let idr5 = Idr5::from_bits(read(regs::IDR5)?);
        // The furthest register used, in the second page.
        mmio.register::<u32>(regs::EVENTQ_CONS)?;
        let producer = mmio.register::<u32>(regs::CMDQ_PROD)?;
        let bound = Bound::new(platform, mmio.phys().start(), bound_ms);
        Ok(Self {
            mmio,
            producer,
            idr0,
            idr1,
            idr3,
            idr5,
            bound,
        })
    }

    pub(super) fn base(&self) -> PhysAddr {
        self.mmio.phys().start()
    }

    pub(super) fn idr0(&self) -> Idr0 {
        self.idr0
    }

    pub(super) fn idr1(&self) -> Idr1 {
        self.idr1
    }

    pub(super) fn idr3(&self) -> Idr3 {
        self.idr3
    }

    pub(super) fn idr5(&self) -> Idr5 {
        self.idr5
    }

    /// Bits of a physical address the unit can give, 48 at most: its tables' descriptors hold no more without
    /// extensions.
    pub(super) fn output_bits(&self) -> u32 {
        address_bits(self.idr5.oas()).map_or(48, |bits| bits.min(48))
    }

    pub(super) fn read_u32(&self, offset: u64) -> u32 {
        self.register(offset).read()
    }

    pub(super) fn write_u32(&self, offset: u64, value: u32) {
        self.register(offset).write(value);
    }

    pub(super) fn write_u64(&self, offset: u64, value: u64) {
        self.register(offset).write(value);
    }

    /// The register that says how far the command queue is filled.
    pub(super) fn producer(&self) -> &Register<P, u32> {
        &self.producer
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

    /// The functions asked for so far.
    pub(super) fn control(&self) -> Cr0 {
        Cr0::from_bits(self.read_u32(regs::CR0))
    }

    /// Switches functions on or off, and waits until they are (6.3.9, 6.3.10).
    pub(super) fn set_control(&self, what: &'static str, value: Cr0) -> Result<(), UnitError> {
        self.write_u32(regs::CR0, value.into_bits());
        self.bound
            .until(what, || self.read_u32(regs::CR0ACK) == value.into_bits())
    }

    /// Switches the unit's interrupts on or off, and waits until they are (6.3.16, 6.3.17).
    pub(super) fn set_interrupts(&self, value: IrqCtrl) -> Result<(), UnitError> {
        self.write_u32(regs::IRQ_CTRL, value.into_bits());
        self.bound.until("interrupt control", || {
            self.read_u32(regs::IRQ_CTRLACK) == value.into_bits()
        })
    }

    /// What becomes of requests while the unit is off.
    pub(super) fn bypass_attributes(&self) -> Gbpa {
        Gbpa::from_bits(self.read_u32(regs::GBPA)).with_update(false)
    }

    /// Changes that, and waits until it is in effect (6.3.14).
    pub(super) fn set_bypass_attributes(&self, value: Gbpa) -> Result<(), UnitError> {
        let what = "bypass attributes";
        let updated = || !Gbpa::from_bits(self.read_u32(regs::GBPA)).update();
        self.bound.until(what, updated)?;
        self.write_u32(regs::GBPA, value.with_update(true).into_bits());
        self.bound.until(what, updated)
    }
}

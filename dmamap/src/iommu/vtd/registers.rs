//! The register window of a unit, and commands that answer through a status register.

use hw::vtd::invalidation::{DESCRIPTOR_BYTES, WIDE_DESCRIPTOR_BYTES};
use hw::vtd::regs::{self, Cap, Ecap, GlobalCommand, GlobalStatus};

use crate::addr::PhysAddr;
use crate::iommu::bound::Bound;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError, Register, RegisterValue};
use crate::platform::Platform;

/// A unit's registers, with the facts that say where the movable ones lie.
pub(super) struct Registers<P: Platform> {
    mmio: Mmio<P>,
    /// What the unit is told of the queue by.
    tail: Register<P, u64>,
    cap: Cap,
    ecap: Ecap,
    /// Width of the queue's descriptors.
    descriptor_bytes: u64,
    bound: Bound<P>,
    /// GCMD writes carry the state of every function, and the next one must not come before the last has
    /// ended (VT-d 11.4.4).
    turn: lock_api::Mutex<P::Lock, Turn>,
}

/// How the end of a command shows in GSTS.
type Done = fn(&GlobalStatus) -> bool;

/// Whether a command is under way.
#[derive(Clone, Copy)]
enum Turn {
    Free,
    Taken,
    /// Nobody waits for its end any more; no other command may come before it.
    Late(Done),
}

impl<P: Platform> Registers<P> {
    /// Takes the window over; `bound_ms` limits every wait on the unit.
    ///
    /// # Errors
    /// [`MmioError`] when a register of the unit lies outside the window its firmware table gave.
    pub(super) fn new(platform: P, mmio: Mmio<P>, bound_ms: u64) -> Result<Self, MmioError> {
        let cap = Cap::from_bits(mmio.register::<u64>(regs::CAP_REG)?.read());
        let ecap = Ecap::from_bits(mmio.register::<u64>(regs::ECAP_REG)?.read());
        // The two groups of registers whose place the unit chooses; the others lie in the first 192 bytes.
        mmio.register::<u64>(regs::IRTA_REG)?;
        mmio.register::<u64>(regs::fault_record(cap, cap.fault_records() - 1) + 8)?;
        let tail = mmio.register::<u64>(regs::IQT_REG)?;
        let bound = Bound::new(platform, mmio.phys().start(), bound_ms);
        Ok(Self {
            mmio,
            tail,
            cap,
            ecap,
            descriptor_bytes: DESCRIPTOR_BYTES,
            bound,
            turn: lock_api::Mutex::new(Turn::Free),
        })
    }

    /// With a queue of 256-bit descriptors, as scalable mode demands (VT-d 6.5.2).
    pub(super) fn with_wide_descriptors(self) -> Self {
        Self {
            descriptor_bytes: WIDE_DESCRIPTOR_BYTES,
            ..self
        }
    }

    pub(super) fn descriptor_bytes(&self) -> u64 {
        self.descriptor_bytes
    }

    pub(super) fn base(&self) -> PhysAddr {
        self.mmio.phys().start()
    }

    pub(super) fn cap(&self) -> Cap {
        self.cap
    }

    pub(super) fn ecap(&self) -> Ecap {
        self.ecap
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

    /// The register that says how far the queue is filled.
    pub(super) fn tail(&self) -> &Register<P, u64> {
        &self.tail
    }

    fn register<T: RegisterValue>(&self, offset: u64) -> Register<P, T> {
        self.mmio
            .register(offset)
            .expect("`new` checked the furthest registers")
    }

    /// The bound of every wait on the unit.
    pub(super) fn bound(&self) -> &Bound<P> {
        &self.bound
    }

    /// Writes GCMD as the current state changed by `change`, and waits until GSTS is as `done` says
    /// (VT-d 11.4.4: one field at a time).
    pub(super) fn command(
        &self,
        what: &'static str,
        change: impl FnOnce(GlobalCommand) -> GlobalCommand,
        done: Done,
    ) -> Result<(), UnitError> {
        self.take_turn(what)?;
        self.write_u32(
            regs::GCMD_REG,
            change(self.status().to_command()).into_bits(),
        );
        let outcome = self.bound.until(what, || done(&self.status()));
        *self.turn.lock() = match outcome {
            Ok(()) => Turn::Free,
            Err(_) => Turn::Late(done),
        };
        outcome
    }

    fn status(&self) -> GlobalStatus {
        GlobalStatus::from_bits(self.read_u32(regs::GSTS_REG))
    }

    /// Waits until no command is under way. Nobody waits with the lock held: it keeps interrupts off.
    fn take_turn(&self, what: &'static str) -> Result<(), UnitError> {
        self.bound.until(what, || {
            let mut turn = self.turn.lock();
            let free = match *turn {
                Turn::Free => true,
                Turn::Taken => false,
                Turn::Late(done) => done(&self.status()),
            };
            if free {
                *turn = Turn::Taken;
            }
            free
        })
    }

    /// Pushes writes of the CPU out of the root complex, on units that need it (VT-d 6.8).
    pub(super) fn flush_write_buffer(&self) -> Result<(), UnitError> {
        if !self.cap.rwbf() {
            return Ok(());
        }
        self.command(
            "write-buffer flush",
            |now| now.with_wbf(true),
            |status| !status.wbfs(),
        )
    }
}

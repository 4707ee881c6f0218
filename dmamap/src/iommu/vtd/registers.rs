//! The register window of a unit, and commands that answer through a status register.

use hw::vtd::regs::{self, Cap, Ecap, GlobalCommand, GlobalStatus};

use crate::addr::PhysAddr;
use crate::iommu::unit::UnitError;
use crate::mmio::{Mmio, MmioError, RegisterValue};
use crate::platform::Platform;

/// A unit's registers, with the facts that say where the movable ones lie.
pub(super) struct Registers<P: Platform> {
    platform: P,
    mmio: Mmio<P>,
    cap: Cap,
    ecap: Ecap,
    bound_ms: u64,
    /// GCMD writes carry the state of every function, and the next one must not come before the last has
    /// ended (VT-d 11.4.4).
    turn: lock_api::Mutex<P::Lock, Turn>,
}

/// Whether a command is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Free,
    Taken,
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
        Ok(Self {
            platform,
            mmio,
            cap,
            ecap,
            bound_ms,
            turn: lock_api::Mutex::new(Turn::Free),
        })
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

    fn register<T: RegisterValue>(&self, offset: u64) -> crate::mmio::Register<P, T> {
        self.mmio
            .register(offset)
            .expect("`new` checked the furthest registers")
    }

    /// When a wait that begins now has lasted too long.
    pub(super) fn deadline_ns(&self) -> u64 {
        self.platform
            .now_ns()
            .saturating_add(self.bound_ms.saturating_mul(1_000_000))
    }

    pub(super) fn timed_out(&self, command: &'static str) -> UnitError {
        UnitError::TimedOut {
            unit: self.base(),
            command,
            bound_ms: self.bound_ms,
        }
    }

    /// Writes GCMD as the current state changed by `change`, and waits until GSTS is as `done` says
    /// (VT-d 11.4.4: one field at a time).
    pub(super) fn command(
        &self,
        what: &'static str,
        change: impl FnOnce(GlobalCommand) -> GlobalCommand,
        done: impl Fn(&GlobalStatus) -> bool,
    ) -> Result<(), UnitError> {
        self.take_turn(what)?;
        let deadline_ns = self.deadline_ns();
        let status = GlobalStatus::from_bits(self.read_u32(regs::GSTS_REG));
        self.write_u32(regs::GCMD_REG, change(status.to_command()).into_bits());
        while !done(&GlobalStatus::from_bits(self.read_u32(regs::GSTS_REG))) {
            // A command that does not end leaves its turn taken: no other may follow it.
            self.pause(deadline_ns, what)?;
        }
        *self.turn.lock() = Turn::Free;
        Ok(())
    }

    /// Waits until no command is under way. Nobody waits with the lock held: it keeps interrupts off.
    fn take_turn(&self, what: &'static str) -> Result<(), UnitError> {
        let deadline_ns = self.deadline_ns();
        loop {
            if core::mem::replace(&mut *self.turn.lock(), Turn::Taken) == Turn::Free {
                return Ok(());
            }
            self.pause(deadline_ns, what)?;
        }
    }

    /// One turn of a wait: an error once the deadline has passed.
    pub(super) fn pause(&self, deadline_ns: u64, what: &'static str) -> Result<(), UnitError> {
        if self.platform.now_ns() >= deadline_ns {
            return Err(self.timed_out(what));
        }
        self.platform.relax();
        Ok(())
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

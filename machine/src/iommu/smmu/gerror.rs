//! Global errors: `GERROR` toggles, `GERRORN` acknowledges (6.3.18, 7.5).

use hw::smmu::regs::Gerror;

use super::message::Interrupt;
use crate::iommu::reporter::Reporter;

/// `GERROR` and `GERRORN`, and their interrupt.
#[derive(Debug)]
pub(super) struct GlobalErrors {
    gerror: u32,
    gerrorn: u32,
    pub(super) interrupt: Interrupt,
}

impl GlobalErrors {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self {
            gerror: 0,
            gerrorn: 0,
            interrupt,
        }
    }

    /// `GERROR`.
    pub(super) fn gerror(&self) -> u32 {
        self.gerror
    }

    /// `GERRORN`.
    pub(super) fn gerrorn(&self) -> u32 {
        self.gerrorn
    }

    /// Errors that are not acknowledged.
    pub(super) fn active(&self) -> Gerror {
        Gerror::from_bits(self.gerror ^ self.gerrorn)
    }

    /// Errors occurred: those that are active already do not toggle again.
    pub(super) fn raise(&mut self, errors: Gerror) {
        let new = errors.into_bits() & !self.active().into_bits();
        self.gerror ^= new;
        if new != 0 {
            self.interrupt.raise();
        }
    }

    /// Software wrote `GERRORN`.
    pub(super) fn acknowledge(&mut self, value: u32, reporter: &Reporter) {
        let toggled = self.gerrorn ^ value;
        if toggled & !self.active().into_bits() != 0 {
            reporter.illegal(format!(
                "GERRORN {value:#x} acknowledges errors that are not active: GERROR is {:#x}",
                self.gerror
            ));
        }
        self.gerrorn = value;
    }
}

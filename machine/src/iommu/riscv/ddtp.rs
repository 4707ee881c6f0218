//! The device-directory-table pointer: which mode the unit is in, and how it changes (5.5).

use hw::riscv::regs::{Ddtp, IommuMode};

use super::busy::Busy;
use crate::iommu::reporter::Reporter;

/// `ddtp`.
#[derive(Debug)]
pub(super) struct DirectoryPointer {
    /// What it shows, but for `busy`.
    shown: Ddtp,
    write: Busy<Ddtp>,
    /// Modes with a directory that the unit knows.
    levels: Vec<u32>,
    physical_address_bits: u32,
}

impl DirectoryPointer {
    pub(super) fn new(at_reset: IommuMode, levels: Vec<u32>, physical_address_bits: u32) -> Self {
        Self {
            shown: Ddtp::new().with_iommu_mode(at_reset),
            write: Busy::default(),
            levels,
            physical_address_bits,
        }
    }

    /// Software wrote `value`.
    pub(super) fn write(&mut self, value: Ddtp, reporter: &Reporter) {
        let bits = value.into_bits();
        reporter.check_reserved("ddtp", bits, !0x003f_ffff_ffff_fc1f);
        if self.write.is_busy() {
            reporter.illegal(format!("ddtp {bits:#x} written while it is busy"));
            return;
        }
        self.write.ask(self.legal(value, reporter));
    }

    /// What a write of `value` comes to: illegal modes leave the register as it is (WARL).
    fn legal(&self, value: Ddtp, reporter: &Reporter) -> Ddtp {
        let (old, new) = (self.shown.iommu_mode(), value.iommu_mode());
        if new == IommuMode::Reserved {
            reporter.illegal(format!("ddtp {:#x}: a reserved mode", value.into_bits()));
            return self.shown;
        }
        match (old.levels(), new.levels()) {
            // The way back goes through Off.
            (Some(_), Some(_)) => {
                reporter.illegal(format!(
                    "ddtp: from {old:?} to {new:?}, not through Off or Bare"
                ));
                self.shown
            }
            (None, Some(levels)) if !self.levels.contains(&levels) => self.shown,
            (_, Some(_)) => {
                if value.root() >> self.physical_address_bits != 0 {
                    reporter.illegal(format!("ddtp: root {:#x} beyond any memory", value.root()));
                }
                value.with_busy(false)
            }
            (Some(_), None) => {
                if new == IommuMode::Bare {
                    reporter.illegal(format!("ddtp: from {old:?} to Bare, not to Off"));
                }
                if value.ppn() != self.shown.ppn() {
                    reporter.illegal("ddtp: the root changed in a write of Off");
                }
                value.with_busy(false)
            }
            (None, None) => value.with_busy(false),
        }
    }

    /// The write to carry out, if any, which counts as started from now on.
    pub(super) fn start(&mut self) -> Option<Ddtp> {
        self.write.start()
    }

    /// It is done.
    pub(super) fn finish(&mut self) {
        self.write.finish();
    }

    /// Software reads the register.
    pub(super) fn poll(&mut self) -> Ddtp {
        if let Some(done) = self.write.poll() {
            self.shown = done;
        }
        self.shown.with_busy(self.write.is_busy())
    }

    /// Software wrote the upper half alone: page-number bits of the next write.
    pub(super) fn write_upper(&mut self, value: Ddtp) {
        self.shown = self.shown.with_ppn(value.ppn());
    }

    /// Whether requests are refused, and nothing else is under way.
    pub(super) fn is_off(&self) -> bool {
        self.shown.iommu_mode() == IommuMode::Off && !self.write.is_busy()
    }
}

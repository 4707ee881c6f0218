//! Where a unit tells what a correct driver never does.

use crate::findings::{FindingKind, Findings};

/// The machine's list of findings, under the unit's name.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    name: String,
    findings: Findings,
}

impl Reporter {
    pub(super) fn new(name: &str, findings: &Findings) -> Self {
        Self {
            name: name.to_owned(),
            findings: findings.clone(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn report(&self, kind: FindingKind, detail: impl Into<String>) {
        self.findings.report(&self.name, kind, detail.into());
    }

    /// A register was used in a way or at a time the manual forbids.
    pub(super) fn illegal(&self, detail: impl Into<String>) {
        self.report(FindingKind::IllegalRegisterUse, detail);
    }

    /// `what` has bits of `reserved` set in `value`.
    pub(super) fn check_reserved(&self, what: &str, value: u64, reserved: u64) {
        if value & reserved != 0 {
            self.report(FindingKind::ReservedBits, format!("{what}: {value:#x}"));
        }
    }
}

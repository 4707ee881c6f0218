//! Requests the IOMMU refused: who, where, how, why.
//!
//! A device can fault as fast as its link allows, so the log is bounded: the first fault of each of up to
//! [`FIRST_FAULTS`] requesters is kept for good, the rest is counted, and what the unit itself could not
//! record is reported as overflow.

use alloc::vec::Vec;
use core::fmt;

use crate::addr::{BusAddr, PhysAddr};
use crate::iommu::requester::Requester;
use crate::platform::Platform;

/// Requesters whose first fault is kept.
pub const FIRST_FAULTS: usize = 64;

/// What a refused request tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read memory.
    Read,
    /// To write memory.
    Write,
    /// One or the other: its unit did not say.
    Unknown,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unknown => "access",
        })
    }
}

/// Why a unit refused a request: the hardware's code and what its manual calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultReason {
    /// The code in the unit's fault record.
    pub code: u16,
    /// The manual's words.
    pub text: &'static str,
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (reason {:#x})", self.text, self.code)
    }
}

/// A refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Physical address of the registers of the unit that refused it.
    pub unit: PhysAddr,
    /// Whose request it was.
    pub requester: Requester,
    /// Where it went: the first byte of the page.
    pub address: BusAddr,
    /// What it tried.
    pub access: Access,
    /// Why it was refused.
    pub reason: FaultReason,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requester,
            address,
            access,
            reason,
            ..
        } = self;
        write!(f, "{requester} {access} at bus {address}: {reason}")
    }
}

/// What has been refused so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultReport {
    /// Faults the units recorded.
    pub total: u64,
    /// How often a unit had more faults than records: at least one was lost each time.
    pub overflows: u64,
    /// Each requester's first fault, in order of arrival.
    pub first_per_requester: Vec<Fault>,
}

struct Log {
    first: [Option<Fault>; FIRST_FAULTS],
    total: u64,
    overflows: u64,
}

/// Where units put their faults; takes no memory as it fills.
pub struct FaultLog<P: Platform> {
    log: lock_api::Mutex<P::Lock, Log>,
}

impl<P: Platform> FaultLog<P> {
    pub(crate) fn new() -> Self {
        let log = Log {
            first: [None; FIRST_FAULTS],
            total: 0,
            overflows: 0,
        };
        Self {
            log: lock_api::Mutex::new(log),
        }
    }

    /// Records a fault; true where it is the requester's first.
    pub(crate) fn record(&self, fault: Fault) {
        let first = {
            let mut log = self.log.lock();
            log.total += 1;
            let slot = log
                .first
                .iter_mut()
                .find(|slot| slot.is_none_or(|known| known.requester == fault.requester));
            match slot {
                Some(slot @ None) => {
                    *slot = Some(fault);
                    true
                }
                _ => false,
            }
        };
        // One line per requester: a storm of faults must not become a storm of log lines.
        if first {
            log::warn!("IOMMU refused {fault}");
        }
    }

    /// Records that a unit had faults it could not record.
    pub(crate) fn record_overflow(&self) {
        self.log.lock().overflows += 1;
    }

    /// What has been recorded.
    pub(crate) fn report(&self) -> FaultReport {
        let log = self.log.lock();
        FaultReport {
            total: log.total,
            overflows: log.overflows,
            first_per_requester: log.first.iter().flatten().copied().collect(),
        }
    }
}

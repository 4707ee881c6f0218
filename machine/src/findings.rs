//! What a model saw that a correct kernel never causes.
//!
//! ```
//! use machine::findings::{FindingKind, Findings};
//!
//! let findings = Findings::new();
//! findings.report("dmar0", FindingKind::ReservedBits, "context entry of 00:03.0: bit 70".into());
//! assert_eq!(findings.list()[0].to_string(), "dmar0: reserved bits set: context entry of 00:03.0: bit 70");
//! ```

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// The first findings are kept whole, later ones only counted.
const KEPT: usize = 256;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A table entry, descriptor or register has bits set that the manual reserves.
    ReservedBits,
    /// A frame was freed while hardware could still reach it: through a table, or through a cache whose
    /// invalidation was forgotten or came late.
    FreedFrameReachable,
    /// Hardware read poison: memory that was freed, or never written back for one that does not snoop.
    PoisonRead,
    /// A register was used in a way or at a time the manual forbids.
    IllegalRegisterUse,
    /// A doorbell or queue pointer beyond its queue.
    DoorbellOutOfRange,
    /// Two functions answer at one address, or two bridges for one bus.
    RoutingConflict,
    /// Anything else the manual forbids.
    ProtocolViolation,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBits => "reserved bits set",
            Self::FreedFrameReachable => "freed frame still reachable",
            Self::PoisonRead => "poison read",
            Self::IllegalRegisterUse => "illegal register use",
            Self::DoorbellOutOfRange => "doorbell out of range",
            Self::RoutingConflict => "routing conflict",
            Self::ProtocolViolation => "protocol violation",
        })
    }
}

/// One fault of the kernel, seen by a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The model that saw it: "dmar0", "0000:01:00.0 nvme".
    pub reporter: String,
    /// What kind of fault.
    pub kind: FindingKind,
    /// Where, and the numbers.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.reporter, self.kind, self.detail)
    }
}

/// The machine's list of findings; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    shared: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    kept: Vec<Finding>,
    total: u64,
}

impl Findings {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding.
    pub fn report(&self, reporter: &str, kind: FindingKind, detail: String) {
        let finding = Finding {
            reporter: reporter.to_owned(),
            kind,
            detail,
        };
        log::warn!("{finding}");
        let mut list = self.shared.lock();
        list.total += 1;
        if list.kept.len() < KEPT {
            list.kept.push(finding);
        }
    }

    /// The first findings, oldest first.
    pub fn list(&self) -> Vec<Finding> {
        self.shared.lock().kept.clone()
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.shared.lock().total
    }
}

//! What can be wrong with the description of a host bridge.

use core::fmt;

use super::WindowKind;
use crate::addr::{BusRange, PhysAddr, PhysRange};

/// Why a description of a host bridge cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// The last bus comes before the first one.
    #[error("bus numbers {first:#04x} to {last:#04x} are no range: check the firmware's bus range")]
    BusNumbers {
        /// First bus number.
        first: u8,
        /// Last bus number.
        last: u8,
    },
    /// A window or inbound range holds no byte.
    #[error("the {kind} at physical {phys} is empty")]
    Empty {
        /// What it is.
        kind: RangeKind,
        /// Where it is.
        phys: PhysAddr,
    },
    /// The two sides of a window or inbound range are of different length.
    #[error("the {kind} at physical {phys} has another length on the bus ({bus})")]
    UnequalLengths {
        /// What it is.
        kind: RangeKind,
        /// Its side of the CPU.
        phys: PhysRange,
        /// Its side of the bus.
        bus: BusRange,
    },
    /// Registers that are not prefetchable, or IO ports, lie above 4 GiB, where their BARs do not reach.
    #[error("the {kind} at bus {bus} passes 4 GiB, where its BARs do not reach")]
    Above4GiB {
        /// What it is.
        kind: RangeKind,
        /// Its side of the bus.
        bus: BusRange,
    },
    /// Two ranges share physical addresses: one address would lead to two places.
    #[error("the {kind} at physical {first} overlaps the one at {second}")]
    PhysOverlap {
        /// What both are.
        kind: RangeKind,
        /// One of them.
        first: PhysRange,
        /// The other.
        second: PhysRange,
    },
    /// Two ranges share bus addresses: one address would lead to two places.
    #[error("the {kind} at bus {first} overlaps the one at {second}")]
    BusOverlap {
        /// What the first is.
        kind: RangeKind,
        /// One of them.
        first: BusRange,
        /// The other.
        second: BusRange,
    },
}

/// Which of a host bridge's ranges an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// A window to registers (A ↔ B).
    Window(WindowKind),
    /// A view of memory (Y ↔ Z).
    Inbound,
}

impl fmt::Display for RangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(kind) => write!(f, "{kind} window"),
            Self::Inbound => f.write_str("inbound range"),
        }
    }
}

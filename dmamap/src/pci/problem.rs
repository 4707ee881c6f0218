//! What enumeration met that is not as it should be; it goes on without the thing concerned.

use super::{BarKind, PathError, PciAddress};
use crate::bridge::WindowKind;
use crate::resource::ResourceError;

/// One thing enumeration had to leave out, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A function kept asking to be tried again later.
    #[error("{address}: not ready after {waited_ns} ns; left out")]
    NotReady {
        /// Which function.
        address: PciAddress,
        /// How long it was given.
        waited_ns: u64,
    },
    /// A function's requests, from before it lost its bus mastering, do not end.
    #[error("{address}: has requests under way that do not end; it is no bus master any more")]
    TransactionsPending {
        /// Which function.
        address: PciAddress,
    },
    /// The header is neither a device's nor a bridge's.
    #[error("{address}: unknown header type {layout:#04x}; left out, switched off")]
    UnknownHeader {
        /// Which function.
        address: PciAddress,
        /// The header type's layout bits.
        layout: u8,
    },
    /// No bus number is left for the bus behind a bridge.
    #[error("{address}: no bus number left below {last_bus:#04x}; nothing behind it is found")]
    BusNumbersExhausted {
        /// Which bridge.
        address: PciAddress,
        /// The host bridge's last bus.
        last_bus: u8,
    },
    /// A bridge does not keep the bus numbers written to it.
    #[error("{address}: does not keep its bus numbers; nothing behind it is found")]
    BusNumbersRefused {
        /// Which bridge.
        address: PciAddress,
    },
    /// A capability list comes back to where it was.
    #[error("{address}: capability list loops at offset {offset:#x}; the rest is ignored")]
    CapabilityLoop {
        /// Which function.
        address: PciAddress,
        /// Where the list came by twice.
        offset: u16,
    },
    /// A capability list points where no capability can be.
    #[error("{address}: capability list leads to offset {offset:#x}, where none can be")]
    CapabilityPointer {
        /// Which function.
        address: PciAddress,
        /// Where it points.
        offset: u16,
    },
    /// A BAR's writable bits describe no power of two, or its type bits nothing known.
    #[error("{address}: BAR {index} cannot be sized ({mask:#x}); left disabled")]
    BarMask {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
        /// What it reads after all ones were written.
        mask: u64,
    },
    /// No window has room for a BAR.
    #[error(
        "{address}: no {kind} space left for {len_bytes:#x} bytes of BAR {index}; left disabled"
    )]
    BarUnassigned {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
        /// What it needs.
        kind: BarKind,
        /// How much of it.
        len_bytes: u64,
    },
    /// A BAR does not read back what was written to it.
    #[error("{address}: BAR {index} reads {read:#x} after {wrote:#x} was written; left disabled")]
    BarRefused {
        /// Which function.
        address: PciAddress,
        /// Which BAR.
        index: u8,
        /// The bus address written.
        wrote: u64,
        /// The one read.
        read: u64,
    },
    /// A bridge cannot forward to the BARs behind it.
    #[error("{address}: {kind} window cannot be opened; BARs behind it are left disabled")]
    WindowRefused {
        /// Which bridge.
        address: PciAddress,
        /// Which of its windows.
        kind: WindowKind,
    },
    /// Someone else has the addresses chosen for a BAR or a bridge's window.
    #[error("{address}: {error}; left disabled")]
    Resource {
        /// Which function.
        address: PciAddress,
        /// Who has them.
        error: ResourceError,
    },
    /// A path given as kept by firmware leads to no function.
    #[error("a device that firmware keeps was not found: {0}")]
    KeptNotFound(PathError),
}

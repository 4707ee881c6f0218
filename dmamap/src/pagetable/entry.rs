//! What an entry says, whatever the format.

use core::fmt;

use crate::addr::PhysAddr;

/// What kind of thing a device reaches at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Memory.
    Normal,
    /// Another device's registers: accesses are not to be merged, repeated or reordered.
    Registers,
}

/// What a device may do with memory. Nothing at all is not a permission: unmap instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The device reads.
    Read,
    /// The device writes.
    Write,
    /// Both.
    ReadWrite,
}

impl Permission {
    /// Whether the device may read.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether the device may write.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r-",
            Self::Write => "-w",
            Self::ReadWrite => "rw",
        })
    }
}

/// Whose requests a mapping is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// All of the device's.
    #[default]
    Any,
    /// Only those that say they are privileged, where the tables can tell
    /// ([`Format::privileges`](super::Format::privileges)).
    PrivilegedOnly,
}

/// All that a leaf says beside where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the device may do.
    pub permission: Permission,
    /// What it reaches.
    pub memory_type: MemoryType,
    /// By which requests.
    pub privilege: Privilege,
}

impl From<Permission> for Grant {
    /// Memory, for all requests of the device.
    fn from(permission: Permission) -> Self {
        Self {
            permission,
            memory_type: MemoryType::Normal,
            privilege: Privilege::Any,
        }
    }
}

/// How far a leaf goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// As far as its entry.
    Entry,
    /// It is one of a contiguous run: aligned entries side by side that lead to aligned memory side by side, and
    /// all say so. A unit may remember the run as one page
    /// ([`Format::run_log2`](super::Format::run_log2)).
    Run,
}

/// One word of a table, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is mapped.
    Empty,
    /// The walk goes on in a table one level down.
    Table(
        /// Where that is.
        PhysAddr,
    ),
    /// The walk ends.
    Leaf {
        /// First byte of the page, or of the run.
        phys: PhysAddr,
        /// What the device may do there.
        permission: Permission,
        /// How far that goes.
        span: Span,
    },
    /// A word the format forbids: this crate never writes one, so something else wrote to the table.
    Reserved,
}

//! What all entries on the way to a page allow together.

use crate::bus::Access;

/// Permissions granted by all entries walked so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Grant {
    pub(super) const ALL: Self = Self {
        read: true,
        write: true,
    };

    /// What is left after an entry that grants only `read` and `write`.
    pub(super) fn and(self, read: bool, write: bool) -> Self {
        Self {
            read: self.read && read,
            write: self.write && write,
        }
    }

    /// Whether `access` is granted.
    pub(super) fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
        }
    }
}

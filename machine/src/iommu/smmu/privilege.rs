//! Privileged requests and others: what stage 1 grants to each, and what a stream's entry makes of a request's own word
//! (3.15, 5.2 `STE.PRIVCFG`).

use crate::bus::Privilege;
use crate::iommu::grant::Grant;

/// What descriptors grant, to privileged requests and to others. Stage 2 makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grants {
    pub(super) unprivileged: Grant,
    pub(super) privileged: Grant,
}

impl Grants {
    pub(super) const ALL: Self = Self::of_both(Grant::ALL);

    /// The same to all.
    pub(super) const fn of_both(grant: Grant) -> Self {
        Self {
            unprivileged: grant,
            privileged: grant,
        }
    }

    /// What a stage 1 descriptor grants that is `open` to requests without privilege, and `writable`.
    pub(super) const fn stage1(open: bool, writable: bool) -> Self {
        Self {
            unprivileged: Grant {
                read: open,
                write: open && writable,
            },
            privileged: Grant {
                read: true,
                write: writable,
            },
        }
    }

    /// What is left of both together.
    pub(super) fn and(self, other: Self) -> Self {
        let both = |one: Grant, other: Grant| one.and(other.read, other.write);
        Self {
            unprivileged: both(self.unprivileged, other.unprivileged),
            privileged: both(self.privileged, other.privileged),
        }
    }

    /// What a request with `privilege` is granted.
    pub(super) fn to(self, privilege: Privilege) -> Grant {
        match privilege {
            Privilege::Unprivileged => self.unprivileged,
            Privilege::Privileged => self.privileged,
        }
    }
}

/// What a stream table entry makes of the privilege that requests come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrivilegeConfig {
    /// They keep it.
    Incoming,
    /// All count as having it, or as not.
    Always(Privilege),
}

impl PrivilegeConfig {
    /// What `PRIVCFG` says; 1 is reserved and means what 0 does.
    pub(super) fn of(privcfg: u8) -> Self {
        match privcfg {
            2 => Self::Always(Privilege::Unprivileged),
            3 => Self::Always(Privilege::Privileged),
            _ => Self::Incoming,
        }
    }

    /// What a request counts as that came with `privilege`.
    pub(super) fn applied_to(self, privilege: Privilege) -> Privilege {
        match self {
            Self::Incoming => privilege,
            Self::Always(other) => other,
        }
    }

    /// The most that a request of the stream may be granted.
    pub(super) fn most(self, grants: Grants) -> Grant {
        grants.to(self.applied_to(Privilege::Privileged))
    }
}

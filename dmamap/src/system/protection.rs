//! How strongly memory is protected from a device, and why a device cannot be attached so.

use alloc::boxed::Box;

use crate::iommu::{DomainError, Requester, UnitError};
use crate::platform::MachineId;

/// How strongly memory is protected from a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// The device reaches nothing.
    Blocked,
    /// The device reaches all memory, at equal addresses: it must be vouched for.
    Identity,
    /// The device reaches what is mapped for it, and for a bounded while after unmapping: unmaps share flushes.
    Deferred,
    /// The device reaches what is mapped for it, from when mapping returns until unmapping returns.
    #[default]
    Strict,
    /// The device reaches copies only, in memory that is always mapped for it and nothing else's.
    Bounce,
}

impl Protection {
    /// Whether a device is kept from more by `other` than by this.
    pub fn is_weaker_than(self, other: Self) -> bool {
        self.rank() < other.rank()
    }

    /// What keeps a device from more.
    #[must_use]
    pub(crate) fn or_stronger(self, other: Self) -> Self {
        if self.is_weaker_than(other) {
            other
        } else {
            self
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Deferred => 1,
            Self::Strict => 2,
            Self::Bounce => 3,
            Self::Blocked => 4,
        }
    }
}

/// Why a device could not be attached; it reaches what it did before then, unless the error says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// It has a driver already.
    #[error("{device} is attached already")]
    AlreadyAttached {
        /// The device.
        device: Requester,
    },
    /// Another device of its [group](crate::group), which shares one domain, is attached otherwise.
    #[error(
        "{device} shares a domain with {other}, which is attached as {protection:?}: an IOMMU cannot keep them apart"
    )]
    GroupProtection {
        /// The device.
        device: Requester,
        /// The other.
        other: Requester,
        /// How the other is attached.
        protection: Protection,
    },
    /// Another of its group has the domain to itself ([`UnmanagedDomain`](crate::map::UnmanagedDomain)).
    #[error("{device} shares a domain with {other}, whose owner chooses what is mapped there")]
    GroupUnmanaged {
        /// The device.
        device: Requester,
        /// The other.
        other: Requester,
    },
    /// Its group is spread over several units, and one domain here is of one unit.
    #[error("{device} shares a domain with {other}, which is behind another IOMMU unit")]
    GroupAcrossUnits {
        /// The device.
        device: Requester,
        /// Another of its group, or another name that its requests may carry.
        other: Requester,
    },
    /// Another device of its group was detached, or not attached, and the unit did not confirm it: what it may reach is
    /// kept, and nothing else is put within its reach.
    #[error(
        "{device} shares a domain with {other}, of which it was not confirmed that its unit forgot it"
    )]
    GroupUnconfirmed {
        /// The device.
        device: Requester,
        /// The other.
        other: Requester,
    },
    /// Somebody is starting or stopping the units, or they did not stop, or not start again: what stands before the
    /// device may not stay. Or somebody [quiesces](super::DmaSystem::quiesce) the machine.
    #[error(
        "{device}: the IOMMU units are being started or stopped, or devices silenced: attach it afterwards"
    )]
    UnitsChanging {
        /// The device.
        device: Requester,
    },
    /// The function was found on another machine.
    #[error("{device} is a device of {machine}, and this system's is {system}")]
    OtherMachine {
        /// The device.
        device: Requester,
        /// Whose it is.
        machine: MachineId,
        /// The system's own.
        system: MachineId,
    },
    /// Nothing could take memory back from the device, and nobody vouched for it.
    #[error(
        "{device}: nothing on its way to memory could revoke a mapping; whoever trusts the device \
         says so by calling `attach_trusted`"
    )]
    NotRevocable {
        /// The device.
        device: Requester,
    },
    /// The machine's owner asks for more protection of every device.
    #[error(
        "{device}: {protection:?} protects less than {least:?}, which the settings ask for at least"
    )]
    TooWeak {
        /// The device.
        device: Requester,
        /// What it would be attached with.
        protection: Protection,
        /// What is [asked for](super::Settings::least_protection).
        least: Protection,
    },
    /// No host bridge has the device's bus.
    #[error("{device} is behind none of the machine's host bridges")]
    NoHostBridge {
        /// The device.
        device: Requester,
    },
    /// Every domain id of the units is in use.
    #[error("{device}: every domain id of the IOMMU units is in use")]
    OutOfDomains {
        /// The device.
        device: Requester,
    },
    /// No table format of the unit reaches as far as it must.
    #[error("{device}: the IOMMU walks no table of {levels} levels")]
    NoSuchLevels {
        /// The device.
        device: Requester,
        /// What was asked for.
        levels: u8,
    },
    /// The domain could not be built, or the unit refused it.
    #[error("{device}: {error}")]
    Domain {
        /// The device.
        device: Requester,
        /// Why.
        error: DomainError,
    },
    /// The unit did not confirm that it translates for the device, nor that it forgot the device again: neither
    /// the device nor its domain id is used again, and what tables it may walk are kept.
    #[error("{device}: {error}; and it was not confirmed that its unit forgot it: {undo}")]
    Unconfirmed {
        /// The device.
        device: Requester,
        /// Why it was not attached.
        error: Box<DomainError>,
        /// What the unit did when it was to forget it.
        undo: UnitError,
    },
}

impl AttachError {
    /// Whether the unit has nothing left of the attempt.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self, Self::Unconfirmed { .. })
    }
}

//! Which kind of table a requester is translated by, and which reasons its faults give (7.1.3).

use hw::vtd::fault::FaultReason;

use crate::bus::Access;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The second-stage table of a legacy-mode context entry.
    Legacy,
    /// The second-stage table of a PASID-table entry.
    Second,
    /// The first-stage table of a PASID-table entry.
    First(FirstStage),
}

/// What a PASID-table entry says of its first-stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstStage {
    /// `NXE`: entries may have `XD`.
    pub(super) no_execute: bool,
    /// `PWSNP`: walks snoop, and so can set flags.
    pub(super) snoops: bool,
}

impl Stage {
    /// An entry grants nothing.
    pub(super) fn not_present(self, access: Access) -> FaultReason {
        match self {
            // The reasons tell the request, not the entry.
            Self::Legacy => self.not_permitted(access),
            Self::Second => FaultReason::SecondStageNotPresent,
            Self::First(_) => FaultReason::FirstStageNotPresent,
        }
    }

    /// The entries grant something, but not `access`.
    pub(super) fn not_permitted(self, access: Access) -> FaultReason {
        match (self, access) {
            (Self::Legacy, Access::Read) => FaultReason::ReadNotPermitted,
            (Self::Legacy, Access::Write) => FaultReason::WriteNotPermitted,
            (Self::Second | Self::First(_), Access::Read) => FaultReason::ScalableReadNotPermitted,
            (Self::Second | Self::First(_), Access::Write) => {
                FaultReason::ScalableWriteNotPermitted
            }
        }
    }

    /// The address is none that the table translates.
    pub(super) fn beyond_width(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::AddressBeyondWidth,
            Self::Second => FaultReason::ScalableAddressBeyondWidth,
            Self::First(_) => FaultReason::NotCanonical,
        }
    }

    /// An entry of the top table could not be read.
    pub(super) fn top_unreachable(self) -> FaultReason {
        match self {
            // The context entry is at fault for the top table (LCT.4).
            Self::Legacy => FaultReason::ContextInvalid,
            Self::Second => FaultReason::SecondStageTopUnreachable,
            Self::First(_) => FaultReason::FirstStageTopUnreachable,
        }
    }

    /// An entry of a lower table could not be read.
    pub(super) fn unreachable(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::PageTableUnreachable,
            Self::Second => FaultReason::SecondStageUnreachable,
            Self::First(_) => FaultReason::FirstStageUnreachable,
        }
    }

    /// An entry has reserved bits set.
    pub(super) fn reserved(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::PageTableReserved,
            Self::Second => FaultReason::SecondStageReserved,
            Self::First(_) => FaultReason::FirstStageReserved,
        }
    }
}

//! Tables that no correct driver writes are findings, beside the fault of the device.

use hw::vtd::fault::FaultReason;

use super::core::Core;
use crate::cache::POISON;
use crate::findings::FindingKind;

impl Core {
    /// Reports `entry`, where it is at fault itself, and not the device.
    pub(super) fn report_malformed(
        &self,
        requester: u16,
        bus: u64,
        reason: FaultReason,
        [low, high]: [u64; 2],
    ) {
        use FaultReason::*;
        let kind = match reason {
            RootReserved
            | ContextReserved
            | PageTableReserved
            | ScalableRootReserved
            | ScalableContextReserved
            | PasidDirectoryReserved
            | PasidReserved
            | FirstStageReserved
            | SecondStageReserved => {
                if low == POISON {
                    FindingKind::PoisonRead
                } else {
                    FindingKind::ReservedBits
                }
            }
            ContextInvalid
            | PageTableUnreachable
            | RootTableUnreachable
            | ContextTableUnreachable
            | ScalableRootTableUnreachable
            | ScalableContextTableUnreachable
            | ScalableContextInvalid
            | RidPasidBeyondDirectory
            | PasidDirectoryUnreachable
            | PasidTableUnreachable
            | PasidInvalid
            | FirstStageUnreachable
            | FirstStageTopUnreachable
            | SecondStageUnreachable
            | SecondStageTopUnreachable
            | SupervisorOnly
            | AccessedFlagNoSnoop
            | AccessedFlagUnwritable => FindingKind::ProtocolViolation,
            _ => return,
        };
        self.reporter.report(
            kind,
            format!("{reason}: requester {requester:#06x}, bus {bus:#x}, entry {low:#x} {high:#x}"),
        );
    }
}

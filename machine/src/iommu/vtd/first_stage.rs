//! First-stage tables, those of x86-64 (3.6, 9.9): what their entries say, and the flags a walk sets in them.

use hw::vtd::fault::FaultReason;
use hw::vtd::first_stage::{self, Entry};
use hw::vtd::second_stage::Kind;

use super::entries::{Decoded, Rules, Target};
use super::stage::{FirstStage, Stage};
use crate::bus::Access;
use crate::iommu::grant::Grant;
use crate::iommu::table_memory::TableMemory;

/// Whether all bits above those that `levels` levels translate are copies of the highest of these.
pub(super) fn is_canonical(levels: u32, bus: u64) -> bool {
    let unused = 64 - (12 + 9 * levels);
    ((bus as i64) << unused >> unused) as u64 == bus
}

/// What became of the flags of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// They are as they must be.
    Set,
    /// A leaf is clean and was read: the next write must set its flag, so it is not remembered.
    Clean,
    /// The entry changed meanwhile.
    Changed,
}

impl Rules {
    /// A first-stage entry (9.9).
    pub(super) fn decode_first_stage(self, first: FirstStage, word: u64, level: u32) -> Decoded {
        let stage = Stage::First(first);
        let entry = Entry::from_bits(word);
        if !entry.p() {
            return Decoded::NotPresent;
        }
        let leaf = level == 1 || (entry.ps() && self.may_be_leaf(stage, level));
        let mut reserved = self.beyond_host_address(first_stage::ADDRESS_MASK);
        if leaf {
            reserved |= first_stage::reserved(level, Kind::Leaf);
        } else {
            // A page size that the unit does not know is reserved (CAP.FS1GP).
            reserved |=
                first_stage::reserved(level, Kind::Table) | Entry::new().with_ps(true).into_bits();
        }
        if !first.no_execute {
            reserved |= first_stage::XD;
        }
        if word & reserved != 0 {
            return Decoded::Malformed(stage.reserved());
        }
        // No request of this machine's devices has supervisor privilege.
        if !entry.us() {
            return Decoded::Malformed(FaultReason::SupervisorOnly);
        }
        let phys = if leaf && level > 1 {
            entry.addr() & !first_stage::LARGE_PAT
        } else {
            entry.addr()
        };
        let grant = Grant {
            read: true,
            write: entry.rw(),
        };
        let target = Target { phys, grant };
        if leaf {
            Decoded::Leaf(target)
        } else {
            Decoded::Table(target)
        }
    }

    /// Sets the accessed flag of the entry `word` at `at`, and of a leaf that `access` writes the dirty flag (3.6.2).
    pub(super) fn set_flags(
        self,
        memory: &TableMemory,
        first: FirstStage,
        (at, word): (u64, u64),
        kind: Kind,
        access: Option<Access>,
    ) -> Result<Flags, FaultReason> {
        let entry = Entry::from_bits(word);
        let writes = kind == Kind::Leaf && access == Some(Access::Write);
        let wanted = Entry::new().with_a(true).with_d(writes).into_bits();
        if word & wanted != wanted {
            if !first.snoops {
                return Err(FaultReason::AccessedFlagNoSnoop);
            }
            match memory.set_bits(at, word, wanted) {
                Ok(true) => {}
                Ok(false) => return Ok(Flags::Changed),
                Err(_) => return Err(FaultReason::AccessedFlagUnwritable),
            }
        }
        if kind == Kind::Leaf && entry.rw() && !entry.d() && !writes {
            return Ok(Flags::Clean);
        }
        Ok(Flags::Set)
    }
}

//! What leads from requesters to page tables, in the unit's mode.

use hw::vtd::root::AddressWidth;

use super::device_table::{DeviceTable, Written};
use super::mode::Mode;
use super::pasid_table::{PasidTables, Style};
use crate::iommu::translation::Translate;
use crate::iommu::unit::DomainId;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// The tables of one unit, from its root table on.
pub(super) enum Tables<P: Platform> {
    /// Legacy mode.
    Contexts {
        table: DeviceTable<P>,
        /// The unit's greatest address width, which pass-through asks for (9.3, AW).
        widest: AddressWidth,
    },
    /// Scalable mode.
    Pasids(PasidTables<P>),
}

impl<P: Platform> Tables<P> {
    /// Tables in which nothing is present. `coherence` is that of these tables.
    pub(super) fn new(
        platform: P,
        coherence: WalkCoherence,
        mode: Mode,
        widest: AddressWidth,
        (walks_snoop, pages_snoop): (bool, bool),
    ) -> Result<Self, OutOfFrames> {
        Ok(match mode {
            Mode::Legacy => Self::Contexts {
                table: DeviceTable::new(platform, coherence)?,
                widest,
            },
            Mode::Scalable(stage) => {
                let style = Style {
                    stage,
                    walks_snoop,
                    pages_snoop,
                    widest,
                };
                Self::Pasids(PasidTables::new(platform, coherence, style)?)
            }
        })
    }

    /// Physical address of the root table.
    pub(super) fn root_phys(&self) -> u64 {
        match self {
            Self::Contexts { table, .. } => table.root_phys(),
            Self::Pasids(tables) => tables.root_phys(),
        }
    }

    /// Points `requester` at a table.
    pub(super) fn write(
        &self,
        requester: u16,
        domain: DomainId,
        translate: Translate,
    ) -> Result<Written, OutOfFrames> {
        match self {
            Self::Contexts { table, widest } => table.write(requester, domain, translate, *widest),
            Self::Pasids(tables) => tables.write(requester, domain, translate),
        }
    }

    /// Makes requests of `requester` fault.
    pub(super) fn clear(&self, requester: u16) {
        match self {
            Self::Contexts { table, .. } => table.clear(requester),
            Self::Pasids(tables) => tables.clear(requester),
        }
    }

    /// Gives the tables back.
    ///
    /// # Safety
    /// The unit no longer walks them.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Contexts { table, .. } => table.free(),
                Self::Pasids(tables) => tables.free(),
            }
        }
    }
}

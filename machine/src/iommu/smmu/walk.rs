//! A walk of one stage's page table.

use hw::smmu::event::{Class, EventKind};

use super::descriptor::{self, Descriptor, Leaf, Stage};
use super::entries::Tables;
use super::privilege::Grants;

/// A table of `level` and what the descriptors above it grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableAt {
    /// Physical address, or intermediate where stage 2 translates.
    pub(super) address: u64,
    pub(super) level: u32,
    pub(super) grants: Grants,
}

/// Why a walk did not end at a leaf, or a request is not allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: EventKind,
    pub(super) stage: Stage,
    pub(super) class: Class,
    /// What could not be fetched, or what stage 2 refused.
    pub(super) address: u64,
    pub(super) recorded: bool,
}

/// The end of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) leaf: Leaf,
    pub(super) size_log2: u32,
    /// What all descriptors grant together.
    pub(super) grants: Grants,
}

/// Something to tell of a descriptor: it is at an address, and has bits set that are to be zero.
pub(super) type Suspicion<'a> = &'a mut dyn FnMut(u64, u64);

impl Tables {
    /// The table that walks start at.
    pub(super) fn top(self) -> TableAt {
        TableAt {
            address: self.root,
            level: self.geometry.start_level,
            grants: Grants::ALL,
        }
    }

    /// A fault of this stage for the request's own address.
    pub(super) fn fault(self, kind: EventKind, address: u64) -> Fault {
        Fault {
            kind,
            stage: self.stage,
            class: Class::Input,
            address,
            recorded: self.records,
        }
    }

    /// Walks from `start` to the leaf of `address`. `load` fetches a descriptor; `passed` is told each table below
    /// `start` and log₂ of what its descriptor covers; `suspicious` is told descriptors with reserved bits.
    pub(super) fn walk(
        self,
        start: TableAt,
        address: u64,
        mut load: impl FnMut(u64) -> Result<u64, Fault>,
        mut passed: impl FnMut(TableAt, u32),
        suspicious: Suspicion<'_>,
    ) -> Result<Found, Fault> {
        let geometry = self.geometry;
        let mut table = start;
        loop {
            let level = table.level;
            let at = geometry.descriptor_at(table.address, level, address);
            let word = load(at)?;
            let decoded = descriptor::decode(self.stage, geometry, level, word);
            if decoded != Descriptor::Invalid
                && descriptor::reserved(self.stage, geometry, level, word) != 0
            {
                suspicious(at, word);
            }
            match decoded {
                Descriptor::Invalid => return Err(self.fault(EventKind::Translation, address)),
                Descriptor::Table { next, grants } => {
                    if next >> self.output_bits != 0 {
                        return Err(self.fault(EventKind::AddressSize, address));
                    }
                    table = TableAt {
                        address: next,
                        level: level + 1,
                        grants: table.grants.and(grants),
                    };
                    passed(table, geometry.entry_log2(level));
                }
                Descriptor::Leaf(leaf) => {
                    if leaf.output >> self.output_bits != 0 {
                        return Err(self.fault(EventKind::AddressSize, address));
                    }
                    if self.checks_access_flag && !leaf.accessed {
                        return Err(self.fault(EventKind::Access, address));
                    }
                    return Ok(Found {
                        leaf,
                        size_log2: geometry.entry_log2(level),
                        grants: table.grants.and(leaf.grants),
                    });
                }
            }
        }
    }
}

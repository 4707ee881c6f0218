//! Reading a table: one address, all leaves, all tables.

use super::level::{self, ENTRIES};
use super::path::Node;
use super::{Entry, Format, PageTable, Permission};
use crate::addr::{BusAddr, BusRange, PhysAddr};
use crate::platform::Platform;

/// What a bus address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The byte reached.
    pub phys: PhysAddr,
    /// What the device may do there.
    pub permission: Permission,
    /// log2 of the page it lies in.
    pub leaf_size_log2: u32,
}

/// A page of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its bus addresses.
    pub bus: BusRange,
    /// What the first of them reaches.
    pub phys: PhysAddr,
    /// What the device may do there.
    pub permission: Permission,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Z → Y: what `bus` reaches (`iova_to_phys`).
    pub fn lookup(&self, bus: BusAddr) -> Option<Target> {
        if !self.reaches(bus, 1) {
            return None;
        }
        let stop = self.path().walk(&self.format, bus.as_u64(), 1);
        let Entry::Leaf { phys, permission } = stop.entry else {
            return None;
        };
        let offset = bus.as_u64() & (level::size(stop.level) - 1);
        Some(Target {
            phys: PhysAddr::new(phys.as_u64() + offset),
            permission,
            leaf_size_log2: level::size_log2(stop.level),
        })
    }

    /// Calls `visit` with every leaf, by address.
    pub fn for_each_leaf(&self, visit: &mut dyn FnMut(Leaf)) {
        self.leaves_below(self.root, self.format.levels(), 0, visit);
    }

    fn leaves_below(&self, node: Node<P>, level: u32, base: u64, visit: &mut dyn FnMut(Leaf)) {
        // The root of six levels has more entries than the address space has room for.
        let room = level::aperture_last(self.format.levels()) >> level::size_log2(level);
        for index in 0..ENTRIES.min(room.saturating_add(1).try_into().unwrap_or(ENTRIES)) {
            let bus = base + ((index as u64) << level::size_log2(level));
            match self.format.decode(level, node.table.load(index)) {
                Entry::Table(child) if level > 1 => {
                    let child = node.child(self.platform, index, child);
                    self.leaves_below(child, level - 1, bus, visit);
                }
                Entry::Leaf { phys, permission } => {
                    let range = BusRange::new(BusAddr::new(bus), level::size(level));
                    let bus = range.expect("a leaf lies in the aperture");
                    visit(Leaf {
                        bus,
                        phys,
                        permission,
                    });
                }
                _ => {}
            }
        }
    }

    /// Calls `visit` with every table, each after those below it; so it may free them.
    pub(super) fn each_table(&self, visit: &mut dyn FnMut(Node<P>)) {
        self.tables_below(self.root, self.format.levels(), visit);
    }

    fn tables_below(&self, node: Node<P>, level: u32, visit: &mut dyn FnMut(Node<P>)) {
        if level > 1 {
            for index in 0..ENTRIES {
                if let Entry::Table(child) = self.format.decode(level, node.table.load(index)) {
                    self.tables_below(node.child(self.platform, index, child), level - 1, visit);
                }
            }
        }
        visit(node);
    }
}

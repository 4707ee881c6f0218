//! Reading a table: one address, all leaves, all tables.

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
    /// log2 of the page it lies in, or of the contiguous run: what can only be unmapped as a whole.
    pub leaf_size_log2: u32,
}

/// A page of the table, or a contiguous run of pages.
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
        let mut path = self.path;
        let stop = path.walk(bus.as_u64(), 1);
        let Entry::Leaf {
            phys,
            permission,
            span,
        } = stop.entry
        else {
            return None;
        };
        let leaf_size_log2 = self.span_log2(stop.level, span);
        let offset = bus.as_u64() & ((1 << leaf_size_log2) - 1);
        Some(Target {
            phys: PhysAddr::new(phys.as_u64() + offset),
            permission,
            leaf_size_log2,
        })
    }

    /// Calls `visit` with every leaf, by address.
    pub fn for_each_leaf(&self, visit: &mut dyn FnMut(Leaf)) {
        self.leaves_below(self.path.root(), self.levels(), 0, visit);
    }

    fn leaves_below(&self, node: Node<P>, level: u32, base: u64, visit: &mut dyn FnMut(Leaf)) {
        let geometry = self.format.geometry();
        let mut index = 0;
        while index < geometry.entries(level) {
            let bus = base + ((index as u64) << geometry.size_log2(level));
            let mut entries = 1;
            match self.format.decode(level, node.table.load(index)) {
                Entry::Table(child) if level > 1 => {
                    let frames = geometry.table_frames(level - 1);
                    let child = node.child(self.platform, index, child, frames);
                    self.leaves_below(child, level - 1, bus, visit);
                }
                Entry::Leaf {
                    phys,
                    permission,
                    span,
                } => {
                    let size_log2 = self.span_log2(level, span);
                    let first = BusAddr::new(bus).align_down(size_log2);
                    let bus = BusRange::new(first, 1 << size_log2);
                    let bus = bus.expect("a leaf lies in the aperture");
                    entries = 1 << (size_log2 - geometry.size_log2(level));
                    visit(Leaf {
                        bus,
                        phys,
                        permission,
                    });
                }
                _ => {}
            }
            index += entries;
        }
    }

    /// Calls `visit` with every table, each after those below it; so it may free them.
    pub(super) fn each_table(&self, visit: &mut dyn FnMut(Node<P>)) {
        self.tables_below(self.path.root(), self.levels(), visit);
    }

    fn tables_below(&self, node: Node<P>, level: u32, visit: &mut dyn FnMut(Node<P>)) {
        if level > 1 {
            let geometry = self.format.geometry();
            let frames = geometry.table_frames(level - 1);
            for index in 0..geometry.entries(level) {
                if let Entry::Table(child) = self.format.decode(level, node.table.load(index)) {
                    let child = node.child(self.platform, index, child, frames);
                    self.tables_below(child, level - 1, visit);
                }
            }
        }
        visit(node);
    }
}

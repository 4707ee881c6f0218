//! The tables between the root and one address: a walk that stays where it is while addresses are close.

use super::shadow::Tally;
use super::words::Words;
use super::{Entry, Format, Geometry, MAX_LEVELS};
use crate::addr::PhysAddr;
use crate::platform::Platform;

/// A table, and its shadow where its entries can be tables.
#[derive(Clone, Copy)]
pub(super) struct Node<P> {
    pub(super) table: Words<P>,
    pub(super) shadow: Option<Words<P>>,
}

impl<P: Platform> Node<P> {
    /// What is known of the table under an entry.
    pub(super) fn tally(self, index: usize) -> Tally {
        Tally::from_word(self.shadow.map_or(0, |shadow| shadow.load(index)))
    }

    pub(super) fn set_tally(self, index: usize, tally: Tally) {
        if let Some(shadow) = self.shadow {
            shadow.store(index, tally.word());
        }
    }

    /// The table under an entry that decodes as a link to `child`; it and its shadow have `frames` frames.
    pub(super) fn child(self, platform: P, index: usize, child: PhysAddr, frames: usize) -> Self {
        // SAFETY: only the walker writes entries and tallies, and what it writes there are tables it was lent
        // and has not unlinked, all of one size; the format's laws make `child` the very table that was linked.
        unsafe {
            let table = Words::adopt(platform, child, frames);
            let shadow = self.tally(index).shadow();
            Self {
                table,
                shadow: shadow.map(|phys| Words::adopt(platform, phys, frames)),
            }
        }
    }
}

/// Where a walk ended.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) level: u32,
    pub(super) word: u64,
    pub(super) entry: Entry,
}

/// Where a node below the root is: all of these are of one size.
#[derive(Clone, Copy)]
struct Link {
    table: PhysAddr,
    /// The table's own address where it has none: no two things are in one place.
    shadow: PhysAddr,
}

impl Link {
    const NONE: Self = Self {
        table: PhysAddr::new(0),
        shadow: PhysAddr::new(0),
    };

    fn to<P: Platform>(node: Node<P>) -> Self {
        let table = node.table.phys();
        let shadow = node.shadow.map_or(table, |shadow| shadow.phys());
        Self { table, shadow }
    }

    fn shadow(self) -> Option<PhysAddr> {
        (self.shadow != self.table).then_some(self.shadow)
    }
}

/// The tables between the root and `bus`, down to level `deepest`: how far a walk has come. The next request is often for an
/// address close by, and starts from there.
#[derive(Clone, Copy)]
pub(super) struct Path<P, F> {
    platform: P,
    format: F,
    root: Node<P>,
    /// By level from 1 on; meaningful from `deepest` to below the root's.
    below: [Link; MAX_LEVELS as usize - 1],
    deepest: u32,
    bus: u64,
}

impl<P: Platform, F: Format> Path<P, F> {
    /// At the root.
    pub(super) fn new(platform: P, root: Node<P>, format: F) -> Self {
        Self {
            platform,
            format,
            root,
            below: [Link::NONE; MAX_LEVELS as usize - 1],
            deepest: format.geometry().levels(),
            bus: 0,
        }
    }

    pub(super) fn root(&self) -> Node<P> {
        self.root
    }

    /// Asked of the format each time: it inlines, and where the format leaves no choice the shifts are by constants.
    fn geometry(&self) -> Geometry {
        self.format.geometry()
    }

    fn top(&self) -> u32 {
        self.geometry().levels()
    }

    /// Goes back to the root, where tables further down may have been unlinked.
    pub(super) fn reset(&mut self) {
        self.deepest = self.top();
    }

    pub(super) fn deepest(&self) -> u32 {
        self.deepest
    }

    #[inline]
    pub(super) fn node(&self, level: u32) -> Node<P> {
        debug_assert!((self.deepest..=self.top()).contains(&level));
        if level == self.top() {
            return self.root;
        }
        let link = self.below[level as usize - 1];
        let frames = self.geometry().frames_below_root();
        // SAFETY: from `deepest` on, links are of nodes that were pushed, of tables below the root. While the path, or a copy of
        // it that is left to others, is used, none of these is unlinked without a `reset`; and what is kept of it near is
        // forgotten then.
        unsafe {
            Node {
                table: Words::adopt(self.platform, link.table, frames),
                shadow: link
                    .shadow()
                    .map(|phys| Words::adopt(self.platform, phys, frames)),
            }
        }
    }

    /// Goes up as far as needed for `bus`, then down as far as tables lead, but not below level `floor`.
    #[inline]
    pub(super) fn walk(&mut self, bus: u64, floor: u32) -> Stop {
        let (geometry, differs) = (self.geometry(), self.bus ^ bus);
        while self.deepest < self.top() && geometry.table_number(differs, self.deepest) != 0 {
            self.deepest += 1;
        }
        self.bus = bus;
        loop {
            let level = self.deepest;
            let node = self.node(level);
            let index = geometry.index(bus, level);
            let word = node.table.load(index);
            match self.format.decode(level, word) {
                Entry::Table(child) if level > floor => {
                    let frames = geometry.frames_below_root();
                    self.push(node.child(self.platform, index, child, frames));
                }
                entry => return Stop { level, word, entry },
            }
        }
    }

    /// Goes one level down, to a table on the way to the current address.
    pub(super) fn push(&mut self, node: Node<P>) {
        self.deepest -= 1;
        self.below[self.deepest as usize - 1] = Link::to(node);
    }

    /// Number of entries in the table of `level`; the root's are not counted.
    pub(super) fn present(&self, level: u32) -> Option<usize> {
        let (parent, index) = self.parent(level)?;
        Some(parent.tally(index).present())
    }

    /// Counts `added` more entries in the table of `level`.
    pub(super) fn add_present(&self, level: u32, added: usize) {
        if let Some((parent, index)) = self.parent(level) {
            let tally = parent.tally(index);
            parent.set_tally(index, tally.with_present(tally.present() + added));
        }
    }

    /// Counts `removed` fewer; returns how many remain.
    pub(super) fn remove_present(&self, level: u32, removed: usize) -> Option<usize> {
        let (parent, index) = self.parent(level)?;
        let tally = parent.tally(index);
        let present = tally.present() - removed;
        parent.set_tally(index, tally.with_present(present));
        Some(present)
    }

    /// The table above that of `level`, and the entry that links it there.
    pub(super) fn parent(&self, level: u32) -> Option<(Node<P>, usize)> {
        (level < self.top()).then(|| {
            (
                self.node(level + 1),
                self.geometry().index(self.bus, level + 1),
            )
        })
    }
}

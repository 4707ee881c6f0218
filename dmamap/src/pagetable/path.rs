//! The tables between the root and one address: a walk that stays where it is while addresses are close.

use super::level::{self, MAX_LEVELS};
use super::shadow::Tally;
use super::word_frame::WordFrame;
use super::{Entry, Format};
use crate::addr::PhysAddr;
use crate::platform::Platform;

/// A table, and its shadow where its entries can be tables.
#[derive(Clone, Copy)]
pub(super) struct Node<P> {
    pub(super) table: WordFrame<P>,
    pub(super) shadow: Option<WordFrame<P>>,
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

    /// The table under an entry that decodes as a link to `child`.
    pub(super) fn child(self, platform: P, index: usize, child: PhysAddr) -> Self {
        // SAFETY: only the walker writes entries and tallies, and what it writes there are frames it was lent
        // and has not unlinked; the format's laws make `child` the very frame that was linked.
        unsafe {
            let table = WordFrame::adopt(platform, child);
            let shadow = self.tally(index).shadow();
            Self {
                table,
                shadow: shadow.map(|phys| WordFrame::adopt(platform, phys)),
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

/// The tables on the way to `bus`, from the root down to level `deepest`.
pub(super) struct Path<P> {
    platform: P,
    /// By level; meaningful from `deepest` to `top`.
    nodes: [Node<P>; MAX_LEVELS as usize + 1],
    deepest: u32,
    top: u32,
    bus: u64,
}

impl<P: Platform> Path<P> {
    /// At the root.
    pub(super) fn new(platform: P, root: Node<P>, levels: u32) -> Self {
        let nodes = [root; MAX_LEVELS as usize + 1];
        Self {
            platform,
            nodes,
            deepest: levels,
            top: levels,
            bus: 0,
        }
    }

    /// Goes back to the root, where tables further down may have been unlinked.
    pub(super) fn reset(&mut self) {
        self.deepest = self.top;
    }

    pub(super) fn deepest(&self) -> u32 {
        self.deepest
    }

    pub(super) fn node(&self, level: u32) -> Node<P> {
        debug_assert!((self.deepest..=self.top).contains(&level));
        self.nodes[level as usize]
    }

    /// Goes up as far as needed for `bus`, then down as far as tables lead, but not below level `floor`.
    pub(super) fn walk<F: Format>(&mut self, format: &F, bus: u64, floor: u32) -> Stop {
        while self.deepest < self.top
            && level::table_number(bus, self.deepest) != level::table_number(self.bus, self.deepest)
        {
            self.deepest += 1;
        }
        self.bus = bus;
        loop {
            let level = self.deepest;
            let node = self.node(level);
            let index = level::index(bus, level);
            let word = node.table.load(index);
            match format.decode(level, word) {
                Entry::Table(child) if level > floor => {
                    self.push(node.child(self.platform, index, child));
                }
                entry => return Stop { level, word, entry },
            }
        }
    }

    /// Goes one level down, to a table on the way to the current address.
    pub(super) fn push(&mut self, node: Node<P>) {
        self.deepest -= 1;
        self.nodes[self.deepest as usize] = node;
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
    fn parent(&self, level: u32) -> Option<(Node<P>, usize)> {
        (level < self.top).then(|| (self.node(level + 1), level::index(self.bus, level + 1)))
    }
}

//! All blocks of a space by address, in a balanced tree whose nodes also know what fits below them.
//!
//! Who looks for a place that no size class tells of goes down it to the lowest block that has one, or learns at its root that
//! none has: in a number of steps that grows with the logarithm of the number of blocks, whatever is in use of them. The links are in the blocks
//! themselves, so that the index needs no memory of its own. A change goes up only as far as it makes a difference.

use core::ops::{Index, IndexMut};

use super::block::{Block, Level};
use super::blocks::Blocks;
use super::rooms::Rooms;
use crate::platform::Platform;
use crate::slab::Handle;

/// Where a block stands in the index.
pub(super) struct Entry {
    children: Children,
    parent: Option<Handle<Block>>,
    height: u8,
    /// What fits in the blocks of each level of the subtree.
    rooms: [Rooms; 2],
}

/// Which way down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// To lower addresses.
    Before,
    /// To higher ones.
    After,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
        }
    }
}

/// The roots of both sides.
#[derive(Clone, Copy, Default)]
struct Children([Option<Handle<Block>>; 2]);

impl Index<Side> for Children {
    type Output = Option<Handle<Block>>;

    fn index(&self, side: Side) -> &Self::Output {
        &self.0[side as usize]
    }
}

impl IndexMut<Side> for Children {
    fn index_mut(&mut self, side: Side) -> &mut Self::Output {
        &mut self.0[side as usize]
    }
}

impl Entry {
    /// Of a block that is not in the index.
    pub(super) const NOWHERE: Self = Self {
        children: Children([None; 2]),
        parent: None,
        height: 1,
        rooms: [Rooms::NONE; 2],
    };

    /// The root of a side.
    pub(super) fn child(&self, side: Side) -> Option<Handle<Block>> {
        self.children[side]
    }

    /// What fits in the blocks of a level in the subtree.
    pub(super) fn rooms(&self, level: Level) -> &Rooms {
        &self.rooms[level as usize]
    }
}

/// The order of blocks: by their first granules, the larger of two first.
fn order(block: &Block) -> (u64, bool) {
    (block.start, block.level == Level::Granules)
}

impl<P: Platform> Blocks<P> {
    /// Puts a block into the index.
    pub(super) fn index(&mut self, block: Handle<Block>) {
        let (mut parent, mut next) = (None, self.root);
        let key = order(self.get(block));
        let mut side = Side::Before;
        while let Some(at) = next {
            let it = self.visit(at);
            side = match key < order(it) {
                true => Side::Before,
                false => Side::After,
            };
            (parent, next) = (Some(at), it.entry.children[side]);
        }
        let it = self.get_mut(block);
        it.entry = Entry {
            parent,
            ..Entry::NOWHERE
        };
        match parent {
            Some(parent) => self.get_mut(parent).entry.children[side] = Some(block),
            None => self.root = Some(block),
        }
        self.retrace(Some(block));
    }

    /// Takes a block out of the index.
    pub(super) fn unindex(&mut self, block: Handle<Block>) {
        let Entry {
            children, parent, ..
        } = self.get(block).entry;
        let (Some(before), Some(after)) = (children[Side::Before], children[Side::After]) else {
            let child = children[Side::Before].or(children[Side::After]);
            self.replace(parent, block, child);
            return self.retrace(parent);
        };
        // The one that follows it takes its place.
        let mut next = after;
        while let Some(lower) = self.visit(next).entry.children[Side::Before] {
            next = lower;
        }
        let mut changed = next;
        if next != after {
            let Entry {
                children: its,
                parent: its_parent,
                ..
            } = self.get(next).entry;
            self.replace(its_parent, next, its[Side::After]);
            changed = its_parent.unwrap_or(next);
            self.adopt(next, Side::After, Some(after));
        }
        self.adopt(next, Side::Before, Some(before));
        self.replace(parent, block, Some(next));
        self.retrace(Some(changed));
    }

    /// What fits in a block has changed: tells those above it.
    pub(super) fn reindex(&mut self, block: Handle<Block>) {
        let mut next = Some(block);
        while let Some(at) = next
            && self.refresh(at)
        {
            next = self.get(at).entry.parent;
        }
    }

    /// Hangs `child` where `old` hangs below `parent`, or as the root.
    fn replace(
        &mut self,
        parent: Option<Handle<Block>>,
        old: Handle<Block>,
        child: Option<Handle<Block>>,
    ) {
        match parent {
            Some(parent) => {
                let children = &self.get(parent).entry.children;
                let side = match children[Side::Before] == Some(old) {
                    true => Side::Before,
                    false => Side::After,
                };
                self.adopt(parent, side, child);
            }
            None => {
                self.root = child;
                if let Some(child) = child {
                    self.get_mut(child).entry.parent = None;
                }
            }
        }
    }

    fn adopt(&mut self, parent: Handle<Block>, side: Side, child: Option<Handle<Block>>) {
        self.get_mut(parent).entry.children[side] = child;
        if let Some(child) = child {
            self.get_mut(child).entry.parent = Some(parent);
        }
    }

    /// Balances all from a block up to the root.
    fn retrace(&mut self, from: Option<Handle<Block>>) {
        let mut next = from;
        while let Some(at) = next {
            let top = self.balance(at);
            next = self.get(top).entry.parent;
        }
    }

    /// Brings a block whose children are in order up to date, and their heights within one of each other; returns what stands
    /// in its place.
    fn balance(&mut self, block: Handle<Block>) -> Handle<Block> {
        self.refresh(block);
        for side in [Side::Before, Side::After] {
            let other = side.other();
            let children = self.get(block).entry.children;
            if let Some(child) = children[side]
                && self.height(children[side]) > self.height(children[other]) + 1
            {
                let inner = self.get(child).entry.children;
                if self.height(inner[side]) < self.height(inner[other]) {
                    self.rotate(child, side);
                }
                return self.rotate(block, other);
            }
        }
        block
    }

    /// Lowers a block to this side, and lifts its child of the other side into its place, which is returned.
    fn rotate(&mut self, block: Handle<Block>, side: Side) -> Handle<Block> {
        let Entry {
            children, parent, ..
        } = self.get(block).entry;
        let Some(risen) = children[side.other()] else {
            return block;
        };
        let inner = self.get(risen).entry.children[side];
        self.replace(parent, block, Some(risen));
        self.adopt(block, side.other(), inner);
        self.adopt(risen, side, Some(block));
        self.refresh(block);
        self.refresh(risen);
        risen
    }

    /// Brings what a block says of its subtree up to date; whether it said something else.
    fn refresh(&mut self, block: Handle<Block>) -> bool {
        let it = self.visit(block);
        let children = it.entry.children;
        let mut rooms = [Rooms::NONE; 2];
        rooms[it.level as usize] = it.rooms;
        let mut height = 0;
        for child in children.0.into_iter().flatten() {
            let child = &self.get(child).entry;
            height = height.max(child.height);
            for (room, other) in rooms.iter_mut().zip(&child.rooms) {
                room.join(other);
            }
        }
        let entry = &mut self.get_mut(block).entry;
        let differs = (entry.height, &entry.rooms) != (height + 1, &rooms);
        (entry.height, entry.rooms) = (height + 1, rooms);
        differs
    }

    fn height(&self, block: Option<Handle<Block>>) -> u8 {
        block.map_or(0, |block| self.get(block).entry.height)
    }
}

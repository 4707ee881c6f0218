//! All blocks of a space, listed by what is free in them.

use super::block::{Block, Division, Level, Table, Zone};
use super::rooms::Rooms;
use super::units::UNITS_LOG2;
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

/// All blocks of a space, and which of them have room.
pub(super) struct Blocks<P: Platform> {
    blocks: Slab<P, Block>,
    tables: Slab<P, Table>,
    lists: [[List; 2]; 2],
    /// All of them, by address.
    pub(super) root: Option<Handle<Block>>,
    visited: u64,
}

/// Blocks of one zone and level, by the order of their largest free run.
#[derive(Clone, Copy, Default)]
struct List {
    heads: [Option<Handle<Block>>; UNITS_LOG2 as usize + 1],
    /// A bit for each head that is there.
    filled: u16,
}

impl<P: Platform> Blocks<P> {
    pub(super) fn new(platform: P) -> Self {
        Self {
            blocks: Slab::new(platform),
            tables: Slab::new(platform),
            lists: Default::default(),
            root: None,
            visited: 0,
        }
    }

    /// Adds a block, in the list of those that are free; on failure nothing has changed.
    pub(super) fn add(&mut self, mut block: Block) -> Result<Handle<Block>, SlabError> {
        if block.level == Level::Blocks {
            block.table = Some(self.tables.insert(Table::NOTHING)?);
        }
        let table = block.table;
        let added = self.blocks.insert(block);
        match (added, table) {
            (Ok(block), _) => {
                self.list(block);
                self.index(block);
                Ok(block)
            }
            (Err(error), Some(table)) => {
                self.tables.remove(table);
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Forgets a block, no unit of which is in use.
    pub(super) fn remove(&mut self, block: Handle<Block>) {
        self.unlist(block);
        self.unindex(block);
        if let Some(removed) = self.blocks.remove(block)
            && let Some(table) = removed.table
        {
            self.tables.remove(table);
        }
    }

    /// A block that has `2^order` units at a multiple of that, of those that have the least.
    pub(super) fn with_room(&self, zone: Zone, level: Level, order: u32) -> Option<Handle<Block>> {
        let list = &self.lists[zone as usize][level as usize];
        let filled = list.filled >> order;
        match filled {
            0 => None,
            _ => list.heads[(order + filled.trailing_zeros()) as usize],
        }
    }

    /// Blocks that are free as a whole: one, and another.
    pub(super) fn unused(
        &self,
        zone: Zone,
        level: Level,
    ) -> (Option<Handle<Block>>, Option<Handle<Block>>) {
        let one = self.lists[zone as usize][level as usize].heads[UNITS_LOG2 as usize];
        (one, one.and_then(|one| self.blocks[one].next))
    }

    /// Granules in the longest run of a block.
    pub(super) fn widest(&self) -> u64 {
        let longest = |level: Level| {
            let rooms = self.get(self.root?).entry.rooms(level);
            Some(rooms.longest() << level.unit_log2())
        };
        let widest = Level::ALL.into_iter().filter_map(longest).max();
        widest.unwrap_or(0)
    }

    /// Changes what is in use of a block.
    pub(super) fn change<R>(
        &mut self,
        block: Handle<Block>,
        change: impl FnOnce(&mut Block) -> R,
    ) -> R {
        let it = &mut self.blocks[block];
        let before = it.units.marks().free_words();
        let outcome = change(it);
        // Where ranges begin does not matter to what fits.
        if it.units.marks().free_words() != before {
            let rooms = Rooms::of(it.units.marks(), it.number());
            self.note(block, rooms);
        }
        outcome
    }

    /// Ends a range of a block.
    pub(super) fn give(&mut self, block: Handle<Block>, unit: usize, units: usize) {
        let it = &mut self.blocks[block];
        it.units.give(unit, units);
        // What else is free fits what it did.
        let (first, end) = it.units.marks().run_around(unit);
        let mut rooms = it.rooms;
        rooms.add(first, end, it.number());
        self.note(block, rooms);
    }

    /// Tells the lists and the index what fits in a block now.
    fn note(&mut self, block: Handle<Block>, rooms: Rooms) {
        let it = &mut self.blocks[block];
        if it.units.largest().map(|order| order as u8) != it.listed {
            self.unlist(block);
            self.list(block);
        }
        let it = &mut self.blocks[block];
        if it.rooms != rooms {
            it.rooms = rooms;
            self.reindex(block);
        }
    }

    /// Puts a block that is in no list into the one that is right.
    fn list(&mut self, block: Handle<Block>) {
        let it = &mut self.blocks[block];
        let Some(order) = it.units.largest() else {
            return;
        };
        let list = &mut self.lists[it.zone as usize][it.level as usize];
        list.filled |= 1 << order;
        let next = list.heads[order as usize].replace(block);
        it.listed = Some(order as u8);
        it.next = next;
        it.previous = None;
        if let Some(next) = next {
            self.blocks[next].previous = Some(block);
        }
    }

    /// Takes a block out of its list.
    fn unlist(&mut self, block: Handle<Block>) {
        let it = &mut self.blocks[block];
        let Some(order) = it.listed.take() else {
            return;
        };
        let (next, previous) = (it.next.take(), it.previous.take());
        let list = &mut self.lists[it.zone as usize][it.level as usize];
        match (previous, next) {
            (None, None) => {
                list.heads[usize::from(order)] = None;
                list.filled &= !(1 << order);
            }
            (None, Some(_)) => list.heads[usize::from(order)] = next,
            (Some(previous), _) => self.blocks[previous].next = next,
        }
        if let Some(next) = next {
            self.blocks[next].previous = previous;
        }
    }

    pub(super) fn get(&self, block: Handle<Block>) -> &Block {
        &self.blocks[block]
    }

    /// The same, counted.
    pub(super) fn visit(&mut self, block: Handle<Block>) -> &Block {
        self.visited += 1;
        &self.blocks[block]
    }

    /// Counts words of bits looked at.
    pub(super) fn count(&mut self, words: usize) {
        self.visited += words as u64;
    }

    pub(super) fn visited(&self) -> u64 {
        self.visited
    }

    /// To change what does not say how much is free: for that there is [`change`](Self::change).
    pub(super) fn get_mut(&mut self, block: Handle<Block>) -> &mut Block {
        &mut self.blocks[block]
    }

    /// What begins in a unit of a block whose units are larger than granules.
    pub(super) fn division(&self, block: Handle<Block>, unit: usize) -> Option<Division> {
        let table = self.blocks[block].table?;
        Some(self.tables[table].get(unit))
    }

    pub(super) fn table(&self, table: Handle<Table>) -> &Table {
        &self.tables[table]
    }

    pub(super) fn table_mut(&mut self, table: Handle<Table>) -> &mut Table {
        &mut self.tables[table]
    }

    pub(super) fn set_division(&mut self, block: Handle<Block>, unit: usize, division: Division) {
        if let Some(table) = self.blocks[block].table {
            self.tables[table].set(unit, division);
        }
    }

    /// Says of a unit that a range has part of that it is to be reserved when the range goes. Units that are no larger than
    /// a granule are no range's in part.
    pub(super) fn promise(&mut self, block: Handle<Block>, unit: usize) {
        let it = &mut self.blocks[block];
        if let Some(table) = it.table {
            it.promised = true;
            self.tables[table].promise(unit);
        }
    }

    /// Whether that was said of an end of a range that just went.
    pub(super) fn is_promised(&self, block: Handle<Block>, unit: usize) -> bool {
        let table = self.blocks[block].table;
        table.is_some_and(|table| self.tables[table].is_promised(unit))
    }

    pub(super) fn frames(&self) -> usize {
        self.blocks.frames() + self.tables.frames()
    }

    pub(super) fn reclaim(&mut self) -> usize {
        self.blocks.reclaim() + self.tables.reclaim()
    }
}

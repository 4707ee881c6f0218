//! A block: 512 units that ranges are chosen from, and the lists of blocks by what is free in them.

use core::num::NonZeroU32;

use super::units::{Bits, UNITS, UNITS_LOG2, Units};
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

/// How large a block's units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// A granule.
    Granules,
    /// As much as a block of granules.
    Blocks,
}

impl Level {
    /// log2 of the granules in a unit.
    pub(super) fn unit_log2(self) -> u32 {
        match self {
            Self::Granules => 0,
            Self::Blocks => UNITS_LOG2,
        }
    }

    /// Granules in a block.
    pub(super) fn block_len(self) -> u64 {
        1 << (self.unit_log2() + UNITS_LOG2)
    }
}

/// Which blocks serve whom: devices that address 32 bits are not to find that those were given to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Below 4 GiB.
    Low,
    /// From there on.
    High,
}

/// 512 units in a row, at a multiple of their size.
pub(super) struct Block {
    /// The first granule.
    pub(super) start: u64,
    pub(super) level: Level,
    pub(super) zone: Zone,
    pub(super) units: Units,
    /// Where ranges begin that nobody may ever have.
    pub(super) reserved: Bits,
    /// Where ranges begin that nobody has any more and nobody may have yet.
    pub(super) kept: Bits,
    /// Those that were, until it was asked whether any unit still translates them.
    pub(super) asked: Bits,
    /// What is said of units that are larger than granules.
    pub(super) table: Option<Handle<Table>>,
    /// The block that this one is a unit of; otherwise it is an extent of the tree.
    pub(super) parent: Option<Handle<Block>>,
    /// Its neighbours in the list of those with as much room.
    next: Option<Handle<Block>>,
    previous: Option<Handle<Block>>,
    /// Which list that is.
    listed: Option<u8>,
    /// The next block with something kept.
    pub(super) next_kept: Option<Handle<Block>>,
    /// The next block with something that is asked about.
    pub(super) next_asked: Option<Handle<Block>>,
}

impl Block {
    pub(super) fn new(start: u64, level: Level, zone: Zone) -> Self {
        Self {
            start,
            level,
            zone,
            units: Units::FREE,
            reserved: Bits::default(),
            kept: Bits::default(),
            asked: Bits::default(),
            table: None,
            parent: None,
            next: None,
            previous: None,
            listed: None,
            next_kept: None,
            next_asked: None,
        }
    }

    /// One past its last granule.
    pub(super) fn end(&self) -> u64 {
        self.start + self.level.block_len()
    }
}

/// What begins in a unit that is larger than a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Division {
    /// A range: before its first granule are so many of this unit, and of its last unit it has so many.
    Range { head: u32, of_last: u32 },
    /// It is a block.
    Block(Handle<Block>),
}

/// A [`Division`] for each unit, packed.
pub(super) struct Table([u32; UNITS]);

impl Table {
    const IS_BLOCK: u32 = 1 << 31;

    pub(super) const NOTHING: Self = Self([0; UNITS]);

    pub(super) fn set(&mut self, unit: usize, division: Division) {
        self.0[unit] = match division {
            Division::Range { head, of_last } => head << 16 | of_last,
            Division::Block(block) => block.number().get() | Self::IS_BLOCK,
        };
    }

    /// What begins in `unit`, which has not been free since it was set.
    pub(super) fn get(&self, unit: usize) -> Option<Division> {
        let word = self.0[unit];
        if word & Self::IS_BLOCK == 0 {
            let (head, of_last) = (word >> 16, word & 0xffff);
            return Some(Division::Range { head, of_last });
        }
        let number = NonZeroU32::new(word & !Self::IS_BLOCK)?;
        Some(Division::Block(Handle::from_number(number)))
    }
}

/// All blocks of a space, and which of them have room.
pub(super) struct Blocks<P: Platform> {
    blocks: Slab<P, Block>,
    tables: Slab<P, Table>,
    lists: [[List; 2]; 2],
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

    /// Granules in the largest run that a list knows of.
    pub(super) fn widest(&self) -> u64 {
        let of = |level: Level| {
            let filled = self.lists.iter().map(|zone| zone[level as usize].filled);
            let filled = filled.fold(0, |all, filled| all | filled);
            filled
                .checked_ilog2()
                .map_or(0, |order| 1 << (order + level.unit_log2()))
        };
        of(Level::Granules).max(of(Level::Blocks))
    }

    /// Changes what is in use of a block.
    pub(super) fn change<R>(
        &mut self,
        block: Handle<Block>,
        change: impl FnOnce(&mut Block) -> R,
    ) -> R {
        let it = &mut self.blocks[block];
        let outcome = change(it);
        if it.units.largest().map(|order| order as u8) != it.listed {
            self.unlist(block);
            self.list(block);
        }
        outcome
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

    /// To change what does not say how much is free: for that there is [`change`](Self::change).
    pub(super) fn get_mut(&mut self, block: Handle<Block>) -> &mut Block {
        &mut self.blocks[block]
    }

    /// What begins in a unit of a block whose units are larger than granules.
    pub(super) fn division(&self, block: Handle<Block>, unit: usize) -> Option<Division> {
        let table = self.blocks[block].table?;
        self.tables[table].get(unit)
    }

    pub(super) fn set_division(&mut self, block: Handle<Block>, unit: usize, division: Division) {
        if let Some(table) = self.blocks[block].table {
            self.tables[table].set(unit, division);
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.blocks.frames() + self.tables.frames()
    }

    pub(super) fn reclaim(&mut self) -> usize {
        self.blocks.reclaim() + self.tables.reclaim()
    }
}

//! A block: 512 units that ranges are chosen from, each a granule or as large as a block of granules.

use core::num::NonZeroU32;

use super::index::Entry;
use super::rooms::Rooms;
use super::units::{Bits, UNITS, UNITS_LOG2, Units};
use crate::slab::Handle;

/// How large a block's units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// A granule.
    Granules,
    /// As much as a block of granules.
    Blocks,
}

impl Level {
    /// Both, the smaller first.
    pub(super) const ALL: [Self; 2] = [Self::Granules, Self::Blocks];

    /// log2 of the granules in a unit.
    #[inline]
    pub(crate) const fn unit_log2(self) -> u32 {
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

impl Zone {
    /// Both, as they are used: low addresses first.
    pub(super) const ALL: [Self; 2] = [Self::Low, Self::High];
}

/// 512 units in a row, at a multiple of their size.
pub(super) struct Block {
    /// The first granule.
    pub(super) start: u64,
    pub(super) level: Level,
    pub(super) zone: Zone,
    pub(super) units: Units,
    /// What fits in it.
    pub(super) rooms: Rooms,
    /// Its place among all blocks.
    pub(super) entry: Entry,
    /// Where ranges begin that nobody may ever have.
    pub(super) reserved: Bits,
    /// Where ranges begin that nobody has any more and nobody may have yet.
    pub(super) kept: Bits,
    /// Those that were, until it was asked whether any unit still translates them.
    pub(super) asked: Bits,
    /// Whether it is lent: all of it counts as in use, and none of it is anybody's.
    pub(super) lent: bool,
    /// Whether a unit was ever promised to be reserved.
    pub(super) promised: bool,
    /// What is said of units that are larger than granules.
    pub(super) table: Option<Handle<Table>>,
    /// The block that this one is a unit of; otherwise it is an extent of the tree.
    pub(super) parent: Option<Handle<Block>>,
    /// Its neighbours in the list of those with as much room.
    pub(super) next: Option<Handle<Block>>,
    pub(super) previous: Option<Handle<Block>>,
    /// Which list that is.
    pub(super) listed: Option<u8>,
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
            rooms: Rooms::of(Units::FREE.marks(), start >> level.unit_log2()),
            entry: Entry::NOWHERE,
            reserved: Bits::default(),
            kept: Bits::default(),
            asked: Bits::default(),
            lent: false,
            promised: false,
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

    /// Whether one of its granules is in `start..end`.
    pub(super) fn reaches_into(&self, (start, end): (u64, u64)) -> bool {
        self.start < end && start < self.end()
    }

    /// The first granule of a unit.
    pub(super) fn first_of(&self, unit: usize) -> u64 {
        self.start + ((unit as u64) << self.level.unit_log2())
    }

    /// The unit with one of its granules.
    pub(super) fn unit_with(&self, granule: u64) -> usize {
        ((granule - self.start) >> self.level.unit_log2()) as usize
    }

    /// Whether each range that begins in it is somebody's, and no more than that.
    pub(super) fn is_plain(&self) -> bool {
        !self.promised
            && [self.reserved, self.kept, self.asked]
                .iter()
                .all(Bits::is_empty)
    }

    /// Its place among all units of its level.
    pub(super) fn number(&self) -> u64 {
        self.start >> self.level.unit_log2()
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

impl Division {
    /// Of a range of `len` granules in so many units, `head` granules into the first.
    pub(super) fn range(head: u64, len: u64, units: usize) -> Self {
        let before_last = (units as u64 - 1) << UNITS_LOG2;
        Self::Range {
            head: head as u32,
            of_last: (head + len - before_last) as u32,
        }
    }

    /// The other way round: how far into its first unit a range of so many units begins, and its length; `None` where that is a
    /// block. Units that nothing is said of are granules.
    pub(super) fn extent(division: Option<Self>, units: usize) -> Option<(u64, u64)> {
        match division {
            None => Some((0, units as u64)),
            Some(Self::Range { head, of_last }) => {
                let (head, of_last) = (u64::from(head), u64::from(of_last));
                let before_last = (units as u64 - 1) << UNITS_LOG2;
                Some((head, before_last + of_last - head))
            }
            Some(Self::Block(_)) => None,
        }
    }
}

/// A [`Division`] for each unit, packed.
pub(super) struct Table([u32; UNITS]);

impl Table {
    const IS_BLOCK: u32 = 1 << 31;
    /// Of the first unit of a range or of its last: it is to be reserved when the range goes.
    const IS_PROMISED: u32 = 1 << 30;

    pub(super) const NOTHING: Self = Self([0; UNITS]);

    pub(super) fn set(&mut self, unit: usize, division: Division) {
        self.0[unit] = match division {
            Division::Range { head, of_last } => head << 16 | of_last,
            Division::Block(block) => block.number().get() | Self::IS_BLOCK,
        };
    }

    /// What begins in `unit`, which has not been free since it was set.
    pub(super) fn get(&self, unit: usize) -> Division {
        let word = self.0[unit];
        match NonZeroU32::new(word & !Self::IS_BLOCK) {
            Some(number) if word & Self::IS_BLOCK != 0 => {
                Division::Block(Handle::from_number(number))
            }
            _ => Division::Range {
                head: (word & !Self::IS_PROMISED) >> 16,
                of_last: word & 0xffff,
            },
        }
    }

    /// Says of the first unit of a range or of its last that it is to be reserved.
    pub(super) fn promise(&mut self, unit: usize) {
        // Where no range begins there may still be what was said of an earlier block.
        self.0[unit] = self.0[unit] & !Self::IS_BLOCK | Self::IS_PROMISED;
    }

    /// Whether that was said of an end of a range that just went. What follows it is said anew.
    pub(super) fn is_promised(&self, unit: usize) -> bool {
        self.0[unit] & (Self::IS_BLOCK | Self::IS_PROMISED) == Self::IS_PROMISED
    }
}

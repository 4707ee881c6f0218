//! The blocks that were chosen from last, at hand.
//!
//! A driver that maps and unmaps finds room in the same block again and again. While a block is *hot* what is in use of it is
//! kept beside the space itself, and neither the slab nor the lists know: a range is chosen and freed by a few words of
//! bits, without one look elsewhere. It *cools down*, which brings everything else up to date, before anybody who is to see all
//! blocks goes through them: when it has no room, when ranges are kept, reserved, or looked for wherever they are, and when
//! frames are wanted back.
//!
//! There is one of each kind. Nothing is reserved, promised or kept in a hot block, so that each of its ranges is somebody's; and
//! no unit of it becomes a block, or stops being one.

use super::block::{Block, Division, Level, Table};
use super::divided::{Divided, Wanted};
use super::search::Fit;
use super::units::Marks;
use crate::platform::Platform;
use crate::slab::Handle;

/// What is in use of a hot block.
pub(super) struct Hot {
    block: Handle<Block>,
    table: Option<Handle<Table>>,
    /// Its first granule, and one past its last.
    start: u64,
    end: u64,
    marks: Marks,
}

/// The hot blocks, by their level.
#[derive(Default)]
pub(super) struct HotBlocks([Option<Hot>; 2]);

/// A range in a hot block.
#[derive(Clone, Copy)]
pub(super) struct HotPlace {
    level: Level,
    unit: usize,
    units: usize,
    /// Its granules.
    pub(super) len: u64,
}

impl HotBlocks {
    #[inline]
    fn of(&mut self, level: Level) -> &mut Option<Hot> {
        &mut self.0[level as usize]
    }

    /// The hot block with a granule, the smaller one where that is in both.
    #[inline]
    fn with(&self, granule: u64) -> Option<(Level, &Hot)> {
        Level::ALL.into_iter().find_map(|level| {
            let hot = self.0[level as usize].as_ref()?;
            (hot.start..hot.end)
                .contains(&granule)
                .then_some((level, hot))
        })
    }
}

impl<P: Platform> Divided<P> {
    /// The start of a range in a hot block, where one serves such requests and has room.
    #[inline]
    pub(super) fn allocate_hot(&mut self, fit: &Fit, wanted: &Wanted) -> Option<u64> {
        let Wanted {
            level,
            units,
            order,
            head,
        } = *wanted;
        let hot = self.hot.of(level).as_mut()?;
        if fit.start > hot.start || fit.end < hot.end {
            return None;
        }
        let unit = hot.marks.find(order)?;
        hot.marks.take(unit, units);
        if let Some(table) = hot.table {
            let range = Division::range(head, fit.len, units);
            self.blocks.table_mut(table).set(unit, range);
        }
        Some(hot.start + ((unit as u64) << level.unit_log2()) + head)
    }

    /// The range that begins with `granule`; `None` where another block is to be asked.
    #[inline]
    pub(super) fn hot_range_at(&self, granule: u64) -> Option<Option<HotPlace>> {
        let (level, hot) = self.hot.with(granule)?;
        let offset = granule - hot.start;
        let unit = (offset >> level.unit_log2()) as usize;
        let Some(units) = hot.marks.range_at(unit) else {
            return Some(None);
        };
        let division = hot.table.map(|table| self.blocks.table(table).get(unit));
        let (head, len) = Division::extent(division, units)?;
        let is_first = offset == ((unit as u64) << level.unit_log2()) + head;
        Some(is_first.then_some(HotPlace {
            level,
            unit,
            units,
            len,
        }))
    }

    /// Makes a range of a hot block free.
    #[inline]
    pub(super) fn free_hot(&mut self, place: &HotPlace) {
        if let Some(hot) = self.hot.of(place.level) {
            hot.marks.give(place.unit, place.units);
        }
    }

    /// Makes a block hot, where none of its level is.
    pub(super) fn heat(&mut self, block: Handle<Block>) {
        let it = self.blocks.get(block);
        if self.hot.of(it.level).is_some() || !it.is_plain() {
            return;
        }
        *self.hot.of(it.level) = Some(Hot {
            block,
            table: it.table,
            start: it.start,
            end: it.end(),
            marks: *it.units.marks(),
        });
    }

    /// From now on no block is hot.
    pub(super) fn cool_down(&mut self) {
        for level in Level::ALL {
            self.cool_down_at(level);
        }
    }

    /// From now on no block of that level is hot.
    pub(super) fn cool_down_at(&mut self, level: Level) {
        let Some(Hot { block, marks, .. }) = self.hot.of(level).take() else {
            return;
        };
        self.blocks.change(block, |it| it.units = marks.into());
    }
}

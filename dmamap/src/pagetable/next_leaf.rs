//! Going through a table from one address on: for units that do not walk it and are told what is in it.

use super::path::Path;
use super::{Entry, Format, Leaf, PageTable};
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

/// A leaf, and where the word stands that says it.
struct Place {
    leaf: Leaf,
    level: u32,
    word: u64,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// The first leaf that has an address from `first` to `last`, with its word: that of any entry of it. What lies behind
    /// `last` is not looked at, however empty it is.
    pub(crate) fn next_leaf(&self, (first, last): (BusAddr, BusAddr)) -> Option<(Leaf, u64)> {
        let mut path = self.path;
        let place = self.next_place(&mut path, (first, last))?;
        Some((place.leaf, place.word))
    }

    /// Writes the words of up to `leaves_max` leaves anew, of those that have an address from `first` to `last`; the address to
    /// go on at where there may be more. For formats whose words have room for what no unit reads, and that know no
    /// [runs](super::Span::Run).
    ///
    /// `rewrite` changes nothing that the word [decodes](Format::decode) as.
    pub(crate) fn rewrite_leaves(
        &mut self,
        (first, last): (BusAddr, BusAddr),
        leaves_max: usize,
        rewrite: impl Fn(u64) -> u64,
    ) -> Option<BusAddr> {
        let mut path = self.path;
        let mut at = first;
        for _ in 0..leaves_max {
            let place = self.next_place(&mut path, (at, last))?;
            let Place { leaf, level, word } = place;
            debug_assert_eq!(self.format.run_log2(level), 0, "a leaf is one word");
            let new = rewrite(word);
            debug_assert_eq!(
                self.format.decode(level, new),
                self.format.decode(level, word)
            );
            let index = self
                .format
                .geometry()
                .index(leaf.bus.start().as_u64(), level);
            let table = path.node(level).table;
            table.store(index, new);
            self.publish(table, index..index + 1);
            at = leaf.bus.last().checked_add(1)?;
        }
        (at <= last).then_some(at)
    }

    fn next_place(
        &self,
        path: &mut Path<P, F>,
        (first, last): (BusAddr, BusAddr),
    ) -> Option<Place> {
        let last = last.min(self.aperture_last()).as_u64();
        let mut at = first.as_u64();
        while at <= last {
            let stop = path.walk(at, 1);
            if let Entry::Leaf {
                phys,
                permission,
                span,
            } = stop.entry
            {
                let size = 1 << self.span_log2(stop.level, span);
                let range = BusRange::new(BusAddr::new(at & !(size - 1)), size);
                let leaf = Leaf {
                    bus: range.expect("a leaf lies in the aperture"),
                    phys,
                    permission,
                };
                return Some(Place {
                    leaf,
                    level: stop.level,
                    word: stop.word,
                });
            }
            // Nothing is mapped up to the end of what the entry covers.
            let size = self.format.geometry().size(stop.level);
            at = (at & !(size - 1)).checked_add(size)?;
        }
        None
    }
}

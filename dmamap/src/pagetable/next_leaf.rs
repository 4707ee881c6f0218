//! Going through a table from one address on: for units that do not walk it and are told what is in it.

use super::{Entry, Format, Leaf, PageTable};
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

impl<P: Platform, F: Format> PageTable<P, F> {
    /// The leaf at `bus`, or else the first one behind it.
    pub(crate) fn next_leaf(&self, bus: BusAddr) -> Option<Leaf> {
        let last = self.aperture_last().as_u64();
        let mut path = self.path();
        let mut at = bus.as_u64();
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
                return Some(Leaf {
                    bus: range.expect("a leaf lies in the aperture"),
                    phys,
                    permission,
                });
            }
            // Nothing is mapped up to the end of what the entry covers.
            let size = self.format.geometry().size(stop.level);
            at = (at & !(size - 1)).checked_add(size)?;
        }
        None
    }
}

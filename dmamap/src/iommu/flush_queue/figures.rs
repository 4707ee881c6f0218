//! How far unmapped memory of a domain was exposed, and for how long.

/// What a domain's shared flushes add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushFigures {
    /// Mappings whose entries are cleared but which the device may still reach, as no flush has covered them.
    pub waiting: u64,
    /// Bytes of bus addresses in them, in whole pages.
    pub waiting_bytes: u64,
    /// Mappings that were left to a flush so far.
    pub retired: u64,
    /// Flushes that were confirmed.
    pub flushes: u64,
    /// Most mappings that one flush covered.
    pub largest_flush: u64,
    /// The longest time, in nanoseconds, from clearing a mapping's entries to the end of the flush that covered it.
    pub longest_window_ns: u64,
    /// Mappings whose flush was not confirmed: their bus addresses were kept, until units that were asked again confirmed it.
    pub lost: u64,
    /// Bytes of bus addresses in them.
    pub lost_bytes: u64,
}

impl FlushFigures {
    /// A flush of so many mappings ended well, `window_ns` after the first of them was cleared.
    pub(super) fn note_flush(&mut self, count: u64, window_ns: u64) {
        self.flushes += 1;
        self.largest_flush = self.largest_flush.max(count);
        self.longest_window_ns = self.longest_window_ns.max(window_ns);
    }
}

//! Entries that are held for somebody who writes them without a walk, and without the lock that the walker needs.
//!
//! Entries of any level that has leaves can be held, of the smallest pages or of large ones. What is held are leaves or nothing: the
//! walker would link a table there only for a mapping at those addresses, of which there is none but the holder's, and where one is
//! linked already, empty as it may be, entries are not held. So a unit finds in a held entry what the holder wrote, and a
//! leaf never takes the place of a table that a unit may remember.
//!
//! A table with held entries counts one more of them than are there, so it is not empty, and neither it nor those above it are
//! unlinked. Who holds entries writes and clears them by single stores, as the walker does, and does not count them: that
//! is made good when they are let go. The walker reads them like any others, and writes none of them meanwhile.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::map::{EMPTY, SAME_AGAIN, leaf};
use super::near::has_leaves;
use super::page_words::PageWords;
use super::words::{are_empty, clear};
use super::{Entry, Format, Gather, Grant, PageTable, Permission, PhysList, Span, WalkCoherence};
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::platform::Platform;

/// How many entries are held together.
pub const HELD: usize = 512;

/// Entries of one level, of the smallest pages unless it is said, that somebody holds ([`PageTable::hold_entries`]), and writes without a
/// walk.
///
/// ```no_run
/// use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
/// use dmamap::pagetable::{Format, Gather, PageTable, Permission};
/// use dmamap::platform::Platform;
///
/// fn example<P: Platform, F: Format>(platform: P, table: &mut PageTable<P, F>) -> Option<()> {
///     let (z, y) = (BusAddr::new(0x20_0000), PhysAddr::new(0x8000_0000));
///     // SAFETY: they are let go below, and the table lives.
///     let held = unsafe { table.hold_entries::<1>(z) }?;
///     assert!(held.map(z, PhysRange::new(y, 0x3000).ok()?, Permission::ReadWrite));
///     assert!(held.unmap(BusRange::new(z, 0x3000).ok()?));
///     // … invalidate that range in every unit that walks the table.
///     table.let_go_entries(held, &mut Gather::new(platform)).ok()
/// }
/// ```
pub struct HeldEntries<P: Platform, F: Format, const LEVEL: u32 = 1> {
    platform: P,
    /// The address of the first.
    bus: BusAddr,
    entries: NonNull<[AtomicU64; HELD]>,
    words: Encoder<F, LEVEL>,
}

// SAFETY: entries are atomic words of frames that stay lent, which any CPU may use.
unsafe impl<P: Platform, F: Format, const LEVEL: u32> Send for HeldEntries<P, F, LEVEL> {}
// SAFETY: as above.
unsafe impl<P: Platform, F: Format, const LEVEL: u32> Sync for HeldEntries<P, F, LEVEL> {}

impl<P: Platform, F: Format, const LEVEL: u32> HeldEntries<P, F, LEVEL> {
    /// The address of the first page.
    pub fn bus(&self) -> BusAddr {
        self.bus
    }

    /// Lets the device reach `phys` at `bus`; whether it does: all of it must be in whole pages of its level that entries can hold, and its
    /// entries be held here and empty. Nothing has changed otherwise.
    #[inline]
    pub fn map(&self, bus: BusAddr, phys: PhysRange, permission: Permission) -> bool {
        match self.entries(bus, phys.len_bytes()) {
            Some(entries) if self.words.pages.accepts(phys) && are_empty(entries) => {
                self.words
                    .write_piece(bus, entries, phys, permission.into());
                publish(self.platform, self.words.pages.coherence(), entries);
                true
            }
            _ => false,
        }
    }

    /// As [`map`](Self::map), for ranges side by side wherever they lie.
    pub fn map_list<L: PhysList>(
        &self,
        range: BusRange,
        memory: &mut L,
        permission: Permission,
    ) -> bool {
        let Some(entries) = self.entries(range.start(), range.len_bytes()) else {
            return false;
        };
        match self.words.fitting(memory, entries.len()) {
            Some(fitting) if are_empty(entries) => {
                let grant = permission.into();
                self.words
                    .write_list(range.start(), entries, memory, fitting, grant);
                publish(self.platform, self.words.pages.coherence(), entries);
                true
            }
            _ => false,
        }
    }

    /// Clears the entries of `range`; whether all of them were held here and said something. A device may go on using them until
    /// `range` was invalidated. Of a contiguous run all is to be cleared at once.
    #[inline]
    pub fn unmap(&self, range: BusRange) -> bool {
        match self.entries(range.start(), range.len_bytes()) {
            Some(entries) if are_full(entries) => {
                withdraw(self.platform, self.words.pages.coherence(), entries);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn entries(&self, bus: BusAddr, len_bytes: u64) -> Option<&[AtomicU64]> {
        let page_log2 = self.words.page_log2();
        let offset = bus.as_u64().checked_sub(self.bus.as_u64())?;
        if (offset | len_bytes).trailing_zeros() < page_log2 {
            return None;
        }
        let (first, count) = (offset >> page_log2, len_bytes >> page_log2);
        // SAFETY: who made this value promised to use it no longer than the entries are held.
        let all = unsafe { self.entries.as_ref() };
        let first = usize::try_from(first).ok()?;
        all.get(first..)?.get(..usize::try_from(count).ok()?)
    }
}

#[inline]
fn is_empty(entry: &AtomicU64) -> bool {
    entry.load(Ordering::Relaxed) == EMPTY
}

/// Whether none is empty.
#[inline]
fn are_full(entries: &[AtomicU64]) -> bool {
    let (blocks, rest) = entries.as_chunks::<8>();
    let full = |all, entry: &AtomicU64| all & !is_empty(entry);
    blocks.iter().all(|block| block.iter().fold(true, full)) && !rest.iter().any(is_empty)
}

/// Writes entries back where the unit does not snoop.
#[inline]
pub(crate) fn publish<P: Platform>(platform: P, coherence: WalkCoherence, entries: &[AtomicU64]) {
    if coherence == WalkCoherence::NotSnooped && !entries.is_empty() {
        platform.clean_cache(NonNull::from(entries).cast(), size_of_val(entries));
    }
}

/// Empties entries, and writes that back where the unit does not snoop.
#[inline]
pub(crate) fn withdraw<P: Platform>(platform: P, coherence: WalkCoherence, entries: &[AtomicU64]) {
    clear(entries);
    publish(platform, coherence, entries);
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Whether entries of a level can be leaves, and held: those of a root, whose addresses may end before its entries do, are not.
    fn can_hold(&self, level: u32) -> bool {
        level > 0 && has_leaves(&self.format, level)
    }

    /// Holds [`HELD`] entries of a level, for its pages from `bus` on, a multiple of their size together, all of which are empty. They
    /// stay until they are [let go](Self::let_go). `None` where there are no such entries, or no memory for their table.
    pub(crate) fn hold(&mut self, bus: BusAddr, level: u32) -> Option<NonNull<[AtomicU64; HELD]>> {
        if !self.can_hold(level) {
            return None;
        }
        let geometry = self.format.geometry();
        let held_log2 = geometry.size_log2(level) + HELD.ilog2();
        let last = bus.checked_add((1 << held_log2) - 1)?;
        if !bus.is_aligned(held_log2) || last > self.aperture_last() {
            return None;
        }
        let mut path = self.path;
        let stop = path.walk(bus.as_u64(), level);
        if stop.level > level {
            if stop.entry != Entry::Empty {
                return None;
            }
            self.make_table(&mut path, bus, level).ok()?;
        }
        let table = path.node(level).table;
        let first = geometry.index(bus.as_u64(), level);
        let entries = table.held(first)?;
        // Not a link either, though it be to an empty table: there will be leaves.
        if !table.are_empty(first..first + HELD) {
            return None;
        }
        path.add_present(level, 1);
        self.path = path;
        Some(entries)
    }

    /// Lets go of entries of a level that are held from `bus` on. What they say stays, and is the walker's from now on.
    pub(crate) fn let_go(&mut self, bus: BusAddr, level: u32, gather: &mut Gather<P>) {
        let mut path = self.path;
        if path.walk(bus.as_u64(), level).level > level {
            return;
        }
        let table = path.node(level).table;
        let first = self.format.geometry().index(bus.as_u64(), level);
        let entries = (first..first + HELD).filter(|&entry| table.load(entry) != EMPTY);
        path.add_present(level, entries.count());
        self.path = path;
        if path.remove_present(level, 1) == Some(0) {
            self.emptied(bus.as_u64(), level, gather);
        }
    }

    /// Holds [`HELD`] entries of a level, 1 for the smallest pages, for its pages from `bus` on, a multiple of their size together, all
    /// of which are empty, for somebody who maps and unmaps there without the lock that guards this table. `None` where there
    /// are no such entries, or no memory for their table; above level 1 also where tables stand below them, however empty:
    /// [`reclaim`](Self::reclaim) unlinks those.
    ///
    /// # Safety
    /// The value is not used after this table was [freed](Self::free). Whoever has it owns those addresses: nothing is mapped or
    /// unmapped there through this table until they are [let go](Self::let_go_entries).
    pub unsafe fn hold_entries<const LEVEL: u32>(
        &mut self,
        bus: BusAddr,
    ) -> Option<HeldEntries<P, F, LEVEL>> {
        Some(HeldEntries {
            platform: self.platform,
            bus,
            entries: self.hold(bus, LEVEL)?,
            words: self.words(),
        })
    }

    /// Lets go of entries that are held. What is mapped there stays so, and is this table's to unmap from now on.
    ///
    /// # Errors
    /// They come back where they are of another table.
    pub fn let_go_entries<const LEVEL: u32>(
        &mut self,
        held: HeldEntries<P, F, LEVEL>,
        gather: &mut Gather<P>,
    ) -> Result<(), HeldEntries<P, F, LEVEL>> {
        let mut path = self.path;
        let at = held.bus.as_u64();
        let is_there = path.walk(at, LEVEL).level <= LEVEL && {
            let first = self.format.geometry().index(at, LEVEL);
            path.node(LEVEL).table.held(first) == Some(held.entries)
        };
        if !is_there {
            return Err(held);
        }
        self.let_go(held.bus, LEVEL, gather);
        Ok(())
    }

    /// What is written to entries of level 1 or 2 that are held; `None` where there are none.
    pub(crate) fn leaf_words(&self, level: u32) -> Option<Box<dyn LeafWords>> {
        match level {
            1 => Some(Box::new(self.words::<1>())),
            2 if self.can_hold(2) => Some(Box::new(self.words::<2>())),
            _ => None,
        }
    }

    fn words<const LEVEL: u32>(&self) -> Encoder<F, LEVEL> {
        Encoder {
            format: self.format,
            pages: PageWords::new(&self.format, LEVEL),
        }
    }
}

/// Writes entries of one level that are held, in one format.
pub(crate) trait LeafWords: Send + Sync {
    /// log2 of the bytes of a page.
    fn page_log2(&self) -> u32;

    /// Whether all of `memory` is in whole pages that entries can hold, as many as this: then, if it is one piece, that piece.
    fn fits(&self, memory: &mut dyn PhysList, pages: usize) -> Option<Fitting>;

    /// Writes entries, of which the first is that of `bus`, for memory that [fits](Self::fits) them.
    fn write(
        &self,
        bus: BusAddr,
        entries: &[AtomicU64],
        memory: &mut dyn PhysList,
        fitting: Fitting,
        grant: Grant,
    );

    /// The same for one piece that is [accepted](PageWords::count).
    fn write_piece(&self, bus: BusAddr, entries: &[AtomicU64], piece: PhysRange, grant: Grant);

    /// What the leaves of single pages say.
    fn of_pages(&self) -> PageWords;
}

/// Memory that fits its entries.
#[derive(Clone, Copy)]
pub(crate) enum Fitting {
    /// It is one piece.
    One(PhysRange),
    /// It is as many as the list says.
    Many,
}

/// What leaves of a level say in one format, worked out once.
struct Encoder<F, const LEVEL: u32> {
    format: F,
    /// Of pages that are no part of a run.
    pages: PageWords,
}

impl<F: Format, const LEVEL: u32> Encoder<F, LEVEL> {
    #[inline]
    fn page_log2(&self) -> u32 {
        self.format.geometry().size_log2(LEVEL)
    }

    /// Writes the entries of one piece.
    #[inline]
    fn write_piece(&self, bus: BusAddr, entries: &[AtomicU64], piece: PhysRange, grant: Grant) {
        let page_log2 = self.page_log2();
        let (first, page) = (
            bus.as_u64() >> page_log2,
            piece.start().as_u64() >> page_log2,
        );
        let run_log2 = self.format.run_log2(LEVEL);
        let within = (1 << run_log2) - 1;
        // Runs begin where memory and addresses are at multiples of their size.
        let before = (first.wrapping_neg() & within) as usize;
        let has_run = within > 0 && entries.len() as u64 > within && (first ^ page) & within == 0;
        if has_run && let Some((head, rest)) = entries.split_at_checked(before) {
            let (runs, tail) = rest.split_at(rest.len() >> run_log2 << run_log2);
            self.pages.write_all(head, page, grant);
            let page = page + before as u64;
            for (entry, page) in runs.iter().zip(page..) {
                let phys = PhysAddr::new(page << page_log2);
                let word = leaf(&self.format, LEVEL, phys, Span::Run, grant);
                entry.store(word, Ordering::Release);
            }
            return self.pages.write_all(tail, page + runs.len() as u64, grant);
        }
        self.pages.write_all(entries, page, grant);
    }

    /// [`LeafWords::fits`].
    #[inline]
    fn fitting<L: PhysList + ?Sized>(&self, memory: &mut L, pages: usize) -> Option<Fitting> {
        memory.restart();
        let first = memory.next_range()?;
        let (mut sum, mut last) = (first.len_bytes(), first.last());
        let mut parts = first.start().as_u64() | sum;
        let mut fitting = Fitting::One(first);
        let len_bytes = (pages as u64) << self.page_log2();
        while let Some(piece) = memory.next_range() {
            fitting = Fitting::Many;
            parts |= piece.start().as_u64() | piece.len_bytes();
            last = last.max(piece.last());
            sum = sum.checked_add(piece.len_bytes())?;
        }
        let whole = parts.trailing_zeros() >= self.page_log2();
        (whole && sum == len_bytes && last <= self.format.last_phys()).then_some(fitting)
    }

    /// [`LeafWords::write`].
    #[inline]
    fn write_list<L: PhysList + ?Sized>(
        &self,
        bus: BusAddr,
        entries: &[AtomicU64],
        memory: &mut L,
        fitting: Fitting,
        grant: Grant,
    ) {
        if let Fitting::One(piece) = fitting {
            return self.write_piece(bus, entries, piece, grant);
        }
        let page_log2 = self.page_log2();
        let mut at = 0;
        memory.restart();
        while let Some(piece) = memory.next_range() {
            // A page alone, as nearly all are, is no run.
            if let Some(entry) = entries.get(at)
                && self.pages.write(entry, piece, grant)
            {
                at += 1;
                continue;
            }
            let pages = (piece.len_bytes() >> page_log2) as usize;
            let these = entries.get(at..at + pages);
            let (true, Some(these)) = (self.pages.accepts(piece), these) else {
                panic!("{SAME_AGAIN}");
            };
            let bus = BusAddr::new(bus.as_u64() + ((at as u64) << page_log2));
            self.write_piece(bus, these, piece, grant);
            at += pages;
        }
        assert_eq!(at, entries.len(), "{SAME_AGAIN}");
    }
}

impl<F: Format, const LEVEL: u32> LeafWords for Encoder<F, LEVEL> {
    fn page_log2(&self) -> u32 {
        Encoder::page_log2(self)
    }

    fn fits(&self, memory: &mut dyn PhysList, pages: usize) -> Option<Fitting> {
        self.fitting(memory, pages)
    }

    fn write(
        &self,
        bus: BusAddr,
        entries: &[AtomicU64],
        memory: &mut dyn PhysList,
        fitting: Fitting,
        grant: Grant,
    ) {
        self.write_list(bus, entries, memory, fitting, grant);
    }

    fn write_piece(&self, bus: BusAddr, entries: &[AtomicU64], piece: PhysRange, grant: Grant) {
        Encoder::write_piece(self, bus, entries, piece, grant);
    }

    fn of_pages(&self) -> PageWords {
        self.pages
    }
}

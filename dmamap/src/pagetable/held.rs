//! Entries that are held for somebody who writes them without a walk, and without the lock that the walker needs.
//!
//! A table with held entries counts one more of them than are there, so it is not empty, and neither it nor those above it are
//! unlinked. Who holds entries writes and clears them by single stores, as the walker does, and does not count them: that
//! is made good when they are let go. The walker reads them like any others, and writes none of them meanwhile.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::map::{EMPTY, SAME_AGAIN, leaf};
use super::{
    Entry, Format, Gather, Grant, MemoryType, PageTable, Permission, PhysList, Privilege, Span,
    WalkCoherence,
};
use crate::addr::{BusAddr, PhysAddr, PhysRange};
use crate::platform::Platform;

/// How many entries are held together.
pub(crate) const HELD: usize = 512;

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Holds the entries for [`HELD`] of the smallest pages from `bus` on, a multiple of their size, all of which are empty. They
    /// stay until they are [let go](Self::let_go). `None` where there are no such entries, or no memory for their table.
    pub(crate) fn hold(&mut self, bus: BusAddr) -> Option<NonNull<[AtomicU64; HELD]>> {
        let geometry = self.format.geometry();
        let held_log2 = geometry.size_log2(1) + HELD.ilog2();
        let last = bus.checked_add((1 << held_log2) - 1)?;
        if geometry.levels() == 1 || !bus.is_aligned(held_log2) || last > self.aperture_last() {
            return None;
        }
        let mut path = self.path();
        let stop = path.walk(bus.as_u64(), 1);
        if stop.level > 1 {
            if stop.entry != Entry::Empty {
                return None;
            }
            self.make_table(&mut path, bus, 1).ok()?;
        }
        let table = path.node(1).table;
        let first = geometry.index(bus.as_u64(), 1);
        let entries = table.held(first)?;
        if table.count_alike(first..first + HELD, !0, EMPTY) < HELD {
            return None;
        }
        path.add_present(1, 1);
        self.position = path.position();
        Some(entries)
    }

    /// Lets go of entries that are held from `bus` on. What they say stays, and is the walker's from now on.
    pub(crate) fn let_go(&mut self, bus: BusAddr, gather: &mut Gather<P>) {
        let mut path = self.path();
        if path.walk(bus.as_u64(), 1).level > 1 {
            return;
        }
        let table = path.node(1).table;
        let first = self.format.geometry().index(bus.as_u64(), 1);
        let entries = (first..first + HELD).filter(|&entry| table.load(entry) != EMPTY);
        path.add_present(1, entries.count());
        self.position = path.position();
        if path.remove_present(1, 1) == Some(0) {
            self.emptied(bus.as_u64(), 1, gather);
        }
    }

    /// What is written to entries that are held.
    pub(crate) fn leaf_words(&self) -> Box<dyn LeafWords> {
        let word = |phys, grant| leaf(&self.format, 1, PhysAddr::new(phys), Span::Entry, grant);
        let page = self.format.geometry().size(1);
        let step = word(page, GRANTS[0]).wrapping_sub(word(0, GRANTS[0]));
        Box::new(Words {
            format: self.format,
            zero: GRANTS.map(|grant| word(0, grant)),
            step,
        })
    }
}

/// Writes entries that are held, in one format.
pub(crate) trait LeafWords: Send + Sync {
    /// Whether all of `memory` is in smallest pages that entries can hold, as many as this: then, if it is one piece, that piece.
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

    /// Whether the unit sees the CPU's caches when it walks.
    fn coherence(&self) -> WalkCoherence;
}

/// Memory that fits its entries.
#[derive(Clone, Copy)]
pub(crate) enum Fitting {
    /// It is one piece.
    One(PhysRange),
    /// It is as many as the list says.
    Many,
}

/// All that a leaf can say beside where it leads, in the order of [`number`].
const GRANTS: [Grant; 12] = {
    let mut grants = [Grant {
        permission: Permission::Read,
        memory_type: MemoryType::Normal,
        privilege: Privilege::Any,
    }; 12];
    let permissions = [Permission::Read, Permission::Write, Permission::ReadWrite];
    let mut n = 0;
    while n < grants.len() {
        grants[n].permission = permissions[n / 4];
        if n / 2 % 2 == 1 {
            grants[n].memory_type = MemoryType::Registers;
        }
        if n % 2 == 1 {
            grants[n].privilege = Privilege::PrivilegedOnly;
        }
        n += 1;
    }
    grants
};

/// The place of a grant among [`GRANTS`].
#[inline]
fn number(grant: Grant) -> usize {
    let permission = match grant.permission {
        Permission::Read => 0,
        Permission::Write => 1,
        Permission::ReadWrite => 2,
    };
    let registers = usize::from(grant.memory_type == MemoryType::Registers);
    let privileged = usize::from(grant.privilege == Privilege::PrivilegedOnly);
    permission * 4 + registers * 2 + privileged
}

struct Words<F> {
    format: F,
    /// The leaf for memory at 0, of each grant.
    zero: [u64; GRANTS.len()],
    /// What is added to it from page to page.
    step: u64,
}

impl<F: Format> Words<F> {
    fn page_log2(&self) -> u32 {
        self.format.geometry().granule().size_log2()
    }

    /// Whether one piece is in whole pages that entries can hold.
    fn accepts(&self, piece: PhysRange) -> bool {
        let parts = piece.start().as_u64() | piece.len_bytes();
        parts.trailing_zeros() >= self.page_log2() && piece.last() <= self.format.last_phys()
    }

    /// Writes the entries of one piece.
    fn write_piece(&self, bus: BusAddr, entries: &[AtomicU64], piece: PhysRange, grant: Grant) {
        let page_log2 = self.page_log2();
        let (first, page) = (
            bus.as_u64() >> page_log2,
            piece.start().as_u64() >> page_log2,
        );
        let run_log2 = self.format.run_log2(1);
        let run = 1 << run_log2;
        // Runs begin where memory and addresses are at multiples of their size.
        let before = ((run - first % run) % run) as usize;
        let has_run = run > 1 && (first ^ page) % run == 0;
        if has_run && let Some((head, rest)) = entries.split_at_checked(before) {
            let (runs, tail) = rest.split_at(rest.len() >> run_log2 << run_log2);
            self.write_plain(head, page, grant);
            let page = page + before as u64;
            for (entry, page) in runs.iter().zip(page..) {
                let phys = PhysAddr::new(page << page_log2);
                let word = leaf(&self.format, 1, phys, Span::Run, grant);
                entry.store(word, Ordering::Release);
            }
            return self.write_plain(tail, page + runs.len() as u64, grant);
        }
        self.write_plain(entries, page, grant);
    }

    /// Writes entries for pages from that of this number on.
    #[inline]
    fn write_plain(&self, entries: &[AtomicU64], page: u64, grant: Grant) {
        let mut word = self.zero[number(grant)].wrapping_add(self.step.wrapping_mul(page));
        for entry in entries {
            entry.store(word, Ordering::Release);
            word = word.wrapping_add(self.step);
        }
    }
}

impl<F: Format> LeafWords for Words<F> {
    fn fits(&self, memory: &mut dyn PhysList, pages: usize) -> Option<Fitting> {
        memory.restart();
        let first = memory.next_range().filter(|piece| self.accepts(*piece))?;
        let len_bytes = (pages as u64) << self.page_log2();
        if first.len_bytes() == len_bytes {
            return memory.next_range().is_none().then_some(Fitting::One(first));
        }
        let mut sum = first.len_bytes();
        while sum < len_bytes {
            let piece = memory.next_range().filter(|piece| self.accepts(*piece))?;
            sum = sum.checked_add(piece.len_bytes())?;
        }
        (sum == len_bytes && memory.next_range().is_none()).then_some(Fitting::Many)
    }

    fn write(
        &self,
        bus: BusAddr,
        entries: &[AtomicU64],
        memory: &mut dyn PhysList,
        fitting: Fitting,
        grant: Grant,
    ) {
        if let Fitting::One(piece) = fitting {
            return self.write_piece(bus, entries, piece, grant);
        }
        let page_log2 = self.page_log2();
        let (mut rest, mut at) = (entries, bus.as_u64());
        memory.restart();
        while let Some(piece) = memory.next_range() {
            assert!(self.accepts(piece), "{SAME_AGAIN}");
            let pages = (piece.len_bytes() >> page_log2) as usize;
            let (these, others) = rest.split_at_checked(pages).expect(SAME_AGAIN);
            self.write_piece(BusAddr::new(at), these, piece, grant);
            at += piece.len_bytes();
            rest = others;
        }
        assert!(rest.is_empty(), "{SAME_AGAIN}");
    }

    fn coherence(&self) -> WalkCoherence {
        self.format.coherence()
    }
}

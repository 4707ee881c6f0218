//! The words of leaves that are no part of a run, of one level, worked out once: that of any page is a sum.

use core::sync::atomic::{AtomicU64, Ordering};

use super::map::leaf;
use super::words::{are_alike, store_steps};
use super::{FewFrames, Format, Grant, MemoryType, Permission, Privilege, Span, WalkCoherence};
use crate::addr::{FRAME_SIZE_LOG2, PhysAddr, PhysRange};

/// What leaves of one level say, each on its own.
#[derive(Clone, Copy)]
pub(crate) struct PageWords {
    /// The leaf for memory at 0, of each grant.
    zero: [u64; GRANTS.len()],
    /// What is added to it from page to page.
    step: u64,
    /// The bits that say where memory is.
    address: u64,
    page_log2: u32,
    /// As many leaves as this power of two, or more, may be a run.
    run_log2: u8,
    last_phys: PhysAddr,
    coherence: WalkCoherence,
}

impl PageWords {
    /// Of a level that has leaves.
    pub(super) fn new<F: Format>(format: &F, level: u32) -> Self {
        let word = |phys, grant| leaf(format, level, PhysAddr::new(phys), Span::Entry, grant);
        let page = format.geometry().size(level);
        Self {
            zero: GRANTS.map(|grant| word(0, grant)),
            step: word(page, GRANTS[0]).wrapping_sub(word(0, GRANTS[0])),
            address: address_bits(format, level, Span::Entry),
            page_log2: format.geometry().size_log2(level),
            run_log2: match format.run_log2(level) {
                // More than there are.
                0 => usize::BITS as u8 - 1,
                run_log2 => run_log2 as u8,
            },
            last_phys: format.last_phys(),
            coherence: format.coherence(),
        }
    }

    /// log2 of the bytes of a page.
    #[inline]
    pub(crate) fn page_log2(&self) -> u32 {
        self.page_log2
    }

    /// Whether memory is in whole pages that entries can hold.
    #[inline]
    pub(super) fn accepts(&self, phys: PhysRange) -> bool {
        let parts = phys.start().as_u64() | phys.len_bytes();
        parts & ((1 << self.page_log2) - 1) == 0 && phys.last() <= self.last_phys
    }

    /// Whether so many leaves side by side are no run, whatever they say.
    #[inline]
    pub(crate) fn are_plain(&self, leaves: usize) -> bool {
        leaves >> self.run_log2 == 0
    }

    /// How many pages memory comes to that is [accepted](Self::accepts).
    #[inline]
    pub(crate) fn count(&self, phys: PhysRange) -> Option<usize> {
        let pages = (phys.len_bytes() >> self.page_log2) as usize;
        self.accepts(phys).then_some(pages)
    }

    /// Whether frames are pages, and entries can hold each of these.
    #[inline]
    pub(crate) fn accepts_few(&self, few: &FewFrames) -> bool {
        self.page_log2 == FRAME_SIZE_LOG2 && few.last() <= self.last_phys
    }

    /// Whether `entries` are leaves that say the same but for where memory is. That word of each grant is compared with: what is
    /// none of them may be a leaf all the same, as hardware may have marked it.
    #[inline]
    pub(super) fn are_pages(&self, entries: &[AtomicU64]) -> bool {
        let Some((first, rest)) = entries.split_first() else {
            return false;
        };
        let word = first.load(Ordering::Relaxed) & !self.address;
        // The last are those that are most common: to be read and written.
        let is_page = self.zero.iter().rev().any(|zero| *zero == word);
        is_page && (rest.is_empty() || self.are_like(rest, word))
    }

    #[inline(never)]
    fn are_like(&self, entries: &[AtomicU64], word: u64) -> bool {
        are_alike(entries, !self.address, word)
    }

    /// Writes the entry of a page whose memory is `phys`; whether it does: that must be a whole page, where entries can lead.
    #[inline]
    pub(crate) fn write(&self, entry: &AtomicU64, phys: PhysRange, grant: Grant) -> bool {
        if phys.len_bytes() != 1 << self.page_log2 || !self.accepts(phys) {
            return false;
        }
        let word = self.word(phys.start().as_u64() >> self.page_log2, grant);
        entry.store(word, Ordering::Release);
        true
    }

    /// Writes entries for the pages of memory that is [accepted](Self::accepts), which are [no run](Self::are_plain).
    #[inline]
    pub(crate) fn write_pages(&self, entries: &[AtomicU64], phys: PhysRange, grant: Grant) {
        self.write_all(entries, phys.start().as_u64() >> self.page_log2, grant);
    }

    /// Writes the entries of pages that are [accepted](Self::accepts), each on its own.
    #[inline]
    pub(crate) fn write_each(&self, entries: &[AtomicU64], pages: &[PhysRange], grant: Grant) {
        let (zero, step, page_log2) = (self.zero[number(grant)], self.step, self.page_log2);
        for (entry, page) in entries.iter().zip(pages) {
            let page = page.start().as_u64() >> page_log2;
            entry.store(
                zero.wrapping_add(step.wrapping_mul(page)),
                Ordering::Release,
            );
        }
    }

    /// Writes entries for pages from that of this number on.
    #[inline]
    pub(super) fn write_all(&self, entries: &[AtomicU64], page: u64, grant: Grant) {
        store_steps(entries, self.word(page, grant), self.step);
    }

    /// The leaf for the page of this number.
    #[inline]
    fn word(&self, page: u64, grant: Grant) -> u64 {
        self.zero[number(grant)].wrapping_add(self.step.wrapping_mul(page))
    }

    /// Whether the unit sees the CPU's caches when it walks.
    pub(crate) fn coherence(&self) -> WalkCoherence {
        self.coherence
    }
}

/// The bits of leaves of a level that say where memory is.
#[inline]
pub(super) fn address_bits<F: Format>(format: &F, level: u32, span: Span) -> u64 {
    let top = format
        .last_phys()
        .align_down(format.geometry().size_log2(level));
    let leaf = |phys| format.leaf(level, phys, Permission::ReadWrite, span);
    leaf(top) ^ leaf(PhysAddr::new(0))
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
    grant.permission as usize * 4 + grant.memory_type as usize * 2 + grant.privilege as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pagetable::{Replay, VtdSecondStage};

    #[test]
    fn frames_are_accepted_as_far_as_entries_lead() {
        let format = VtdSecondStage::new(4, 40).unwrap();
        let words = PageWords::new(&format, 1);
        let end = 1 << 40;
        let piece = |start| PhysRange::new(PhysAddr::new(start), 0x1000).unwrap();
        for (start, is_accepted) in [(end - 0x1000, true), (end, false)] {
            let mut few = FewFrames::NONE;
            let pieces = [piece(start), piece(0x5000)];
            assert!(few.become_of(&mut Replay::new(pieces.into_iter())));
            assert_eq!(words.accepts_few(&few), is_accepted);
            assert_eq!(words.count(piece(start)), is_accepted.then_some(1));
        }
    }

    #[test]
    fn each_grant_has_a_place_of_its_own() {
        for (n, grant) in GRANTS.into_iter().enumerate() {
            assert_eq!(number(grant), n);
        }
    }
}

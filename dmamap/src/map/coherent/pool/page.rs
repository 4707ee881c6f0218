//! Which blocks of which pages are free.
//!
//! The records lie in a slab, in memory that no device reaches. (An allocator that keeps its list of free blocks inside
//! the blocks, as Linux' did for long, lets a device that writes to one of them choose what address is handed out
//! next.)

use super::layout::MAX_SLOTS;
use crate::map::coherent::Coherent;
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

const WORDS: usize = MAX_SLOTS / u64::BITS as usize;

/// One page and which of its blocks are free.
pub(super) struct Page<P: Platform> {
    pub(super) memory: Coherent<P, u8>,
    free: [u64; WORDS],
    slots: u16,
    used: u16,
    /// Links of the list of pages with a free block.
    next: Option<Handle<Page<P>>>,
    previous: Option<Handle<Page<P>>>,
}

impl<P: Platform> Page<P> {
    /// A page whose `slots` blocks are free.
    pub(super) fn new(memory: Coherent<P, u8>, slots: usize) -> Self {
        let mut free = [0; WORDS];
        for slot in 0..slots.min(MAX_SLOTS) {
            free[slot / 64] |= 1 << (slot % 64);
        }
        Self {
            memory,
            free,
            slots: slots.min(MAX_SLOTS) as u16,
            used: 0,
            next: None,
            previous: None,
        }
    }

    /// Takes a free block.
    pub(super) fn take(&mut self) -> Option<u16> {
        let word = self.free.iter().position(|&word| word != 0)?;
        let bit = self.free[word].trailing_zeros();
        self.free[word] &= !(1 << bit);
        self.used += 1;
        Some((word as u32 * u64::BITS + bit) as u16)
    }

    fn give(&mut self, slot: u16) {
        debug_assert_eq!(self.free[usize::from(slot) / 64] >> (slot % 64) & 1, 0);
        self.free[usize::from(slot) / 64] |= 1 << (slot % 64);
        self.used -= 1;
    }

    fn is_full(&self) -> bool {
        self.used == self.slots
    }
}

/// The pages of a pool. Whoever holds it holds the pool's lock.
pub(super) struct Pages<P: Platform> {
    pages: Slab<P, Page<P>>,
    /// The first page with a free block.
    open: Option<Handle<Page<P>>>,
    pub(super) free_blocks: usize,
}

/// Why a handle is one of a page.
const HELD: &str = "a page stays until it is taken out, when no block of it is left";

impl<P: Platform> Pages<P> {
    pub(super) const fn new(platform: P) -> Self {
        Self {
            pages: Slab::new(platform),
            open: None,
            free_blocks: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn page(&self, page: Handle<Page<P>>) -> &Page<P> {
        self.pages.get(page).expect(HELD)
    }

    fn page_mut(&mut self, page: Handle<Page<P>>) -> &mut Page<P> {
        self.pages.get_mut(page).expect(HELD)
    }

    /// Takes a free block of a page.
    pub(super) fn take(&mut self) -> Option<(Handle<Page<P>>, u16)> {
        let handle = self.open?;
        let page = self.page_mut(handle);
        let slot = page.take()?;
        if page.is_full() {
            self.close(handle);
        }
        self.free_blocks -= 1;
        Some((handle, slot))
    }

    /// Gives a block back.
    pub(super) fn give(&mut self, handle: Handle<Page<P>>, slot: u16) {
        let page = self.page_mut(handle);
        let was_full = page.is_full();
        page.give(slot);
        self.free_blocks += 1;
        if was_full {
            self.open(handle);
        }
    }

    /// Makes sure that a page can be added.
    pub(super) fn reserve(&mut self) -> Result<(), SlabError> {
        self.pages.reserve(1)
    }

    /// Adds a page, for which there is room.
    pub(super) fn add(&mut self, page: Page<P>) -> Result<Handle<Page<P>>, SlabError> {
        let (free, full) = (usize::from(page.slots - page.used), page.is_full());
        let handle = self.pages.insert(page)?;
        self.free_blocks += free;
        if !full {
            self.open(handle);
        }
        Ok(handle)
    }

    /// Takes all pages without a block in use out of the list; [`remove`](Self::remove) takes them out one by one.
    pub(super) fn unlink_unused(&mut self) -> Option<Handle<Page<P>>> {
        let (mut next, mut unlinked) = (self.open, None);
        while let Some(handle) = next {
            let page = self.page(handle);
            next = page.next;
            if page.used == 0 {
                self.free_blocks -= usize::from(page.slots);
                self.close(handle);
                self.page_mut(handle).next = unlinked;
                unlinked = Some(handle);
            }
        }
        unlinked
    }

    /// Takes an unlinked page out; returns it and the next one.
    pub(super) fn remove(
        &mut self,
        handle: Handle<Page<P>>,
    ) -> (Coherent<P, u8>, Option<Handle<Page<P>>>) {
        let page = self.pages.remove(handle).expect(HELD);
        (page.memory, page.next)
    }

    /// Gives back what the records do not need any more.
    pub(super) fn reclaim(&mut self) {
        self.pages.reclaim();
    }

    fn open(&mut self, handle: Handle<Page<P>>) {
        let head = self.open;
        let page = self.page_mut(handle);
        (page.next, page.previous) = (head, None);
        if let Some(head) = head {
            self.page_mut(head).previous = Some(handle);
        }
        self.open = Some(handle);
    }

    fn close(&mut self, handle: Handle<Page<P>>) {
        let page = self.page(handle);
        let (next, previous) = (page.next, page.previous);
        if let Some(next) = next {
            self.page_mut(next).previous = previous;
        }
        match previous {
            Some(previous) => self.page_mut(previous).next = next,
            None => self.open = next,
        }
    }
}

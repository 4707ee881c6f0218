//! What a span with owners is made of, whatever its state: its addresses, its links, and the copies of their ends.

use core::mem::ManuallyDrop;

use super::reserved::Reserved;
use crate::addr::BusRange;
use crate::buffer::{DmaMemory, ScatterList};
use crate::map::backing::Backing;
use crate::map::list_syncs::ListSyncs;
use crate::map::place::{Contents, Memory};
use crate::map::{Asked, MapError, Quarantined};
use crate::platform::Platform;

/// The span's addresses and what is linked to them, from the first on without gaps.
pub(super) struct Parts<P: Platform, B: DmaMemory> {
    pub(super) reserved: Reserved<P>,
    pub(super) links: ScatterList<B>,
    /// Bytes of `links` that the device was shown.
    pub(super) synced_bytes: u64,
    /// What the device reaches of all links together.
    backing: Backing,
}

impl<P: Platform, B: DmaMemory> Parts<P, B> {
    pub(super) fn new(reserved: Reserved<P>, links: ScatterList<B>) -> Self {
        Self {
            reserved,
            links,
            synced_bytes: 0,
            backing: Backing::InPlace,
        }
    }

    pub(super) fn syncs(&self) -> ListSyncs<'_, P> {
        self.reserved.syncs(&self.backing)
    }

    pub(super) fn syncs_and_links(&mut self) -> (ListSyncs<'_, P>, &mut ScatterList<B>) {
        (self.reserved.syncs(&self.backing), &mut self.links)
    }

    pub(super) fn linked(&self) -> BusRange {
        self.reserved
            .range(0, self.links.len_bytes())
            .expect("links are inside the span")
    }

    /// Links the last entry of the list, which is not linked yet.
    pub(super) fn link_last(&mut self) -> Result<(), MapError> {
        let index = self.links.len() - 1;
        let entry = &self.links.entries()[index];
        let (len_bytes, frames) = (entry.len_bytes(), entry.buffer().frames());
        let mut pieces = self.links.pieces_from(index);
        let mut memory = Memory {
            first: pieces.next().expect("an entry has a byte"),
            len_bytes,
            pieces: &mut pieces,
            contents: Contents::AsLent,
            frames,
        };
        let offset = self.links.len_bytes() - len_bytes;
        // SAFETY: the pieces are the buffer's own memory, and all access to it goes through the list, which is borrowed.
        let linked = unsafe { self.reserved.link(offset, &mut memory) };
        let backing = linked.map_err(|failure| {
            self.reserved
                .error(Asked::from(memory.first.start(), len_bytes), failure)
        })?;
        let before = core::mem::replace(&mut self.backing, Backing::InPlace);
        self.backing = before.followed_by(backing);
        Ok(())
    }

    /// Takes back all links; the list comes back, or goes into the device's quarantine; the addresses are lost then.
    pub(super) fn unlink(self) -> Result<(Reserved<P>, ScatterList<B>), Quarantined> {
        let Self {
            reserved,
            links,
            backing,
            ..
        } = self;
        let links = ManuallyDrop::new(links);
        let reserved = ManuallyDrop::new(reserved);
        let len_bytes = links.len_bytes();
        if len_bytes > 0 {
            let range = reserved
                .range(0, len_bytes)
                .expect("links are inside the span");
            let pages = reserved.pages_of(range);
            if let Err(error) = reserved.unlink(pages) {
                let core = reserved.held().core();
                let device = core.requester;
                core.keep_from_use(links, len_bytes, backing, error);
                // The mapping is over; its addresses are never given back.
                drop(ManuallyDrop::into_inner(reserved));
                return Err(Quarantined {
                    device,
                    range,
                    error,
                });
            }
            reserved.syncs(&backing).after_unmap(&links);
            // SAFETY: the units confirmed that the device lost all links.
            unsafe { backing.release(reserved.held().core()) };
        }
        Ok((
            ManuallyDrop::into_inner(reserved),
            ManuallyDrop::into_inner(links),
        ))
    }
}

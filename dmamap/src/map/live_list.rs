//! A list that is mapped: the bus addresses of several owned buffers, and the syncs of all of them.
#![expect(
    clippy::result_large_err,
    reason = "errors give memory back, and none may be allocated for them"
)]

use core::mem::ManuallyDrop;

use crate::addr::BusRange;
use crate::buffer::{DmaMemory, Frames, ScatterList};
use crate::device::{Device, Held};
use crate::map::as_it_is::{AsItIs, map_pieces_as_they_are};
use crate::map::copies::Copies;
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::establish::{check_owner, establish, fail, not_established, revoke};
use crate::map::list_syncs::ListSyncs;
use crate::map::place::{Contents, Memory};
use crate::map::plain::Taken;
use crate::map::runs::runs;
use crate::map::segments::segments;
use crate::map::terms::Terms;
use crate::map::{AnyDirection, Asked, Attributes, Outside};
use crate::platform::Platform;

/// Bus addresses of a list, and the hold on the device that goes with them.
///
/// As [`Live`](crate::map::live::Live): its owners never drop one that was not revoked.
pub(crate) struct LiveList<P: Platform> {
    held: Held<P>,
    range: BusRange,
    copies: Copies,
    direction: AnyDirection,
    attributes: Attributes,
}

impl<P: Platform> LiveList<P> {
    /// Maps `list`, which is given away.
    pub(crate) fn establish_owned<B: DmaMemory>(
        device: &Device<P>,
        list: ScatterList<B>,
        terms: Terms,
    ) -> Result<(Self, ScatterList<B>), Rejected<ScatterList<B>>> {
        // Until the outcome is known the device may reach the memory: should anything panic, it is leaked.
        let list = ManuallyDrop::new(list);
        match Self::establish(device, &list, terms) {
            Ok(live) => Ok((live, ManuallyDrop::into_inner(list))),
            Err(error) => {
                let len_bytes = list.len_bytes();
                Err(device.core().rejected(error, list, len_bytes))
            }
        }
    }

    fn establish<B: DmaMemory>(
        device: &Device<P>,
        list: &ScatterList<B>,
        terms: Terms,
    ) -> Result<Self, MapError> {
        for entry in list.entries() {
            let buffer = entry.buffer();
            check_owner(device.core(), buffer, buffer.segment(0))
                .map_err(|failure| fail(device, Asked::of(buffer), failure))?;
            let whole_bytes = buffer.len_bytes();
            Outside::check(entry.offset(), entry.len_bytes(), whole_bytes).map_err(|error| {
                fail(
                    device,
                    Asked::of_list(list),
                    MapFailure::PieceOutOfBounds(error),
                )
            })?;
        }
        // Looked at only now that every piece lies in its buffer.
        let mut pieces = list.pieces_from(0);
        let Some(first) = pieces.next() else {
            return Err(fail(device, Asked::of_list(list), MapFailure::Empty));
        };
        terms
            .check_coherence(device.core().coherence)
            .map_err(|failure| fail(device, Asked::of_list(list), failure))?;
        let (len_bytes, frames) = (list.len_bytes(), frames_of(list));
        let held = Held::new(device, len_bytes);
        let (held, range, copies) = match map_pieces_as_they_are(
            held.core(),
            &mut pieces,
            (first, len_bytes),
            frames,
            terms,
        ) {
            AsItIs::Mapped(range) => (held, range, Copies::None),
            AsItIs::Failed(failure) => {
                let asked = Asked::from(first.start(), len_bytes);
                return Err(not_established(held, asked, failure));
            }
            AsItIs::Undecided => {
                let mut memory = Memory {
                    first,
                    len_bytes,
                    pieces: &mut pieces,
                    contents: Contents::AsLent,
                    frames,
                };
                // SAFETY: the pieces are the buffers' own memory, and all access to them goes through the list, which is
                // borrowed.
                let (held, placed) = unsafe { establish(held, &terms, &mut memory) }?;
                (held, placed.range, Copies::of(&placed.backing))
            }
        };
        Ok(Self {
            held,
            range,
            copies,
            direction: terms.direction,
            attributes: terms.attributes,
        })
    }

    pub(crate) fn held(&self) -> &Held<P> {
        &self.held
    }

    pub(crate) fn range(&self) -> BusRange {
        self.range
    }

    /// The bus addresses of each physical piece of the list, in order.
    pub(crate) fn runs<'a, B: DmaMemory>(
        &'a self,
        list: &'a ScatterList<B>,
    ) -> impl Iterator<Item = BusRange> + 'a {
        let route = &self.held.core().route;
        runs(route, self.copies, self.range, list.pieces_from(0))
    }

    /// What the device is told of the list, in order.
    pub(crate) fn segments<'a, B: DmaMemory>(
        &'a self,
        list: &'a ScatterList<B>,
    ) -> impl Iterator<Item = BusRange> + 'a {
        let limits = &self.held.core().limits;
        segments(
            self.runs(list),
            limits.max_segment_bytes(),
            limits.segment_boundary(),
        )
    }

    pub(crate) fn syncs(&self) -> ListSyncs<'_, P> {
        let core = self.held.core();
        ListSyncs::new(core, self.direction, self.attributes, self.copies)
    }

    /// Takes the addresses back; the list comes back, or goes into the device's quarantine.
    pub(crate) fn revoke_owned<B: DmaMemory>(
        self,
        list: ScatterList<B>,
    ) -> Result<ScatterList<B>, Quarantined> {
        let list = ManuallyDrop::new(list);
        let (core, range) = (self.held.core(), self.range);
        let (attributes, copies) = (self.attributes, self.copies);
        // What the steps come to, for nearly all lists.
        let taken = match self.syncs().need_sync() {
            // SAFETY: `range` is of this mapping, which ends with this call.
            false => unsafe { core.take_back_plain(range, attributes) },
            true => Taken::Not,
        };
        let outcome = match taken {
            Taken::Back => {
                core.platform.dma_rmb();
                return Ok(ManuallyDrop::into_inner(list));
            }
            Taken::Failed(error) => Err(error),
            // SAFETY: as above: nothing was done.
            Taken::Not => unsafe { revoke(core, &core.route, range, copies, attributes, None) },
        };
        if let Err(error) = outcome {
            let len_bytes = list.len_bytes();
            core.keep_from_use(list, len_bytes, copies.backing(core), error);
            return Err(Quarantined {
                device: core.requester,
                range,
                error,
            });
        }
        self.syncs().after_unmap(&list);
        // SAFETY: the route confirmed that the device lost the mapping, or has the copy always.
        unsafe { copies.backing(core).release(core) };
        Ok(ManuallyDrop::into_inner(list))
    }
}

/// Whose the frames are that the pieces of `list` touch: shared if any piece's are.
fn frames_of<B: DmaMemory>(list: &ScatterList<B>) -> Frames {
    let mut entries = list.entries().iter();
    match entries.any(|entry| entry.buffer().frames() == Frames::Shared) {
        true => Frames::Shared,
        false => Frames::Whole,
    }
}

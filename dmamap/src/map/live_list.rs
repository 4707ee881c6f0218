//! A list that is mapped: the bus addresses of several owned buffers, and the syncs of all of them.

use core::mem::ManuallyDrop;

use crate::addr::BusRange;
use crate::buffer::{DmaMemory, ScatterList};
use crate::device::{Coherence, Device, Held};
use crate::map::OutOfBounds;
use crate::map::attributes::CpuSync;
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::establish::{establish, fail, revoke};
use crate::map::runs::runs;
use crate::map::segments::segments;
use crate::map::terms::Terms;
use crate::platform::Platform;

/// Bus addresses of a list, and the hold on the device that goes with them.
///
/// As [`Live`](crate::map::live::Live): its owners never drop one that was not revoked.
pub(crate) struct LiveList<P: Platform> {
    held: Held<P>,
    range: BusRange,
    terms: Terms,
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
            Err(error) => Err(Rejected {
                error,
                buffer: (!error.leaves_memory_reachable()).then(|| ManuallyDrop::into_inner(list)),
            }),
        }
    }

    fn establish<B: DmaMemory>(
        device: &Device<P>,
        list: &ScatterList<B>,
        terms: Terms,
    ) -> Result<Self, MapError> {
        for entry in list.entries() {
            check_owner(device, entry.buffer())?;
            let whole_bytes = entry.buffer().len_bytes();
            OutOfBounds::check(entry.offset(), entry.len_bytes(), whole_bytes)
                .map_err(|error| fail(device, MapFailure::PieceOutOfBounds(error)))?;
        }
        // Looked at only now that every piece lies in its buffer.
        let mut pieces = list.pieces_from(0);
        let Some(first) = pieces.next() else {
            return Err(fail(device, MapFailure::Empty));
        };
        let clean = |_: &mut dyn crate::pagetable::PhysList| {
            let coherence = device.core().coherence;
            if coherence == Coherence::NotSnooped && terms.attributes.cpu_sync == CpuSync::Automatic
            {
                clean_whole(device.platform(), list, 0);
            }
        };
        let (held, range) = establish(device, terms, first, list.len_bytes(), &mut pieces, clean)?;
        Ok(Self { held, range, terms })
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
        runs(&self.held.core().route, self.range, list.pieces_from(0))
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

    pub(crate) fn need_sync(&self) -> bool {
        self.held.core().coherence == Coherence::NotSnooped
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` of the list on is what the CPU reads from now on.
    pub(crate) fn sync_for_cpu<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) {
        let platform = self.held.core().platform;
        if self.need_sync() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                platform.invalidate_cache(start, count);
            });
        }
        platform.dma_rmb();
    }

    /// What the CPU wrote there is what the device reads from now on.
    pub(crate) fn sync_for_device<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) {
        let platform = self.held.core().platform;
        if self.need_sync() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                platform.clean_cache(start, count);
            });
        }
        platform.dma_wmb();
    }

    /// Takes the addresses back; the list comes back, or is leaked.
    pub(crate) fn revoke_owned<B: DmaMemory>(
        self,
        list: ScatterList<B>,
    ) -> Result<ScatterList<B>, Quarantined> {
        let list = ManuallyDrop::new(list);
        revoke(&self.held, self.range, list.len_bytes())?;
        let platform = self.held.core().platform;
        if self.need_sync() && self.terms.attributes.cpu_sync == CpuSync::Automatic {
            list.each_chunk(0, list.len_bytes(), |start, count, _| {
                platform.invalidate_cache(start, count);
            });
        }
        platform.dma_rmb();
        Ok(ManuallyDrop::into_inner(list))
    }
}

/// Memory of another machine, or that no machine lent, is told by where this one's CPU sees it.
pub(crate) fn check_owner<P: Platform, B: DmaMemory>(
    device: &Device<P>,
    buffer: &B,
) -> Result<(), MapError> {
    let virt = buffer.virt();
    match device.platform().virt_to_phys(virt) {
        Some(phys) if phys == buffer.segment(0).start() => Ok(()),
        _ => Err(fail(device, MapFailure::NotDmaMemory { virt })),
    }
}

/// Writes back all frames that the list's buffers have, from entry `first` on: a device reaches what lies beside a piece in
/// its frames, and memory may still hold there what somebody else wrote.
pub(crate) fn clean_whole<P: Platform, B: DmaMemory>(
    platform: P,
    list: &ScatterList<B>,
    first: usize,
) {
    for entry in list.entries().iter().skip(first) {
        let buffer = entry.buffer();
        let reached = buffer
            .len_bytes()
            .next_multiple_of(crate::addr::FRAME_BYTES);
        platform.clean_cache(buffer.pointer(), reached as usize);
    }
}

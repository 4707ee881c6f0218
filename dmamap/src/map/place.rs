//! Where a mapping is: whether the device is given the memory itself or a copy, and at which bus addresses.
//!
//! On the direct route memory that the device does not reach is copied as a whole, so that it sees one segment. On the
//! translated route a page that holds others' memory as well is not given to a device that nobody vouched for: what lies
//! in it is copied to a page of its own, and the whole pages between are mapped in place.

use core::ptr::NonNull;

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::bounce::{BounceError, Exposure, Forced, Pool, PoolName, Run, RunRequest};
use crate::buffer::Frames;
use crate::device::{Coherence, DeviceCore};
use crate::iommu::{Domain, DomainError};
use crate::map::attributes::Need;
use crate::map::backing::Backing;
use crate::map::direct::Direct;
use crate::map::edges::GivenList;
use crate::map::route::{Route, crosses};
use crate::map::terms::{Boundary, Shape, Terms};
use crate::map::translated;
use crate::map::{AnyDirection, MapFailure};
use crate::pagetable::PhysList;
use crate::platform::Platform;
use crate::system::Protection;

/// Least bytes of the cache lines that a device that does not snoop must have to itself (`ARCH_DMA_MINALIGN` of Arm).
pub(crate) const LINE_BYTES: u64 = 128;

/// The memory of a mapping.
pub(crate) struct Memory<'a> {
    /// Its first physical piece.
    pub(crate) first: PhysRange,
    pub(crate) len_bytes: u64,
    /// All pieces.
    pub(crate) pieces: &'a mut dyn PhysList,
    /// Where the CPU has its bytes.
    pub(crate) contents: Contents,
    /// Whose the frames are that it touches.
    pub(crate) frames: Frames,
}

/// Where the CPU has the bytes of some memory.
#[derive(Clone, Copy)]
pub(crate) enum Contents {
    /// Side by side, from there on.
    At(NonNull<u8>),
    /// Where the platform has memory at its physical address, piece by piece, if it is RAM.
    AsLent,
}

/// A mapping made.
pub(crate) struct Placed {
    /// With more than one piece in place on the direct route, the first piece's addresses.
    pub(crate) range: BusRange,
    pub(crate) backing: Backing,
}

impl<P: Platform> DeviceCore<P> {
    /// Makes a mapping, within the device's limits.
    ///
    /// # Errors
    /// [`MapFailure`]; unless the memory itself was left reachable nothing is mapped or lent.
    ///
    /// # Safety
    /// [`Memory::contents`] are readable, and no reference that writes them is in use.
    pub(crate) unsafe fn place(
        &self,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        if memory.len_bytes == 0 {
            return Err(MapFailure::Empty);
        }
        let terms = &terms.within(&self.limits);
        let placed = match &self.route {
            Route::Blocked => Err(MapFailure::Blocked),
            // SAFETY: the caller's promise.
            Route::Direct(direct) => unsafe { self.place_directly(direct, terms, memory) },
            // SAFETY: the caller's promise.
            Route::Translated(domain) => unsafe { self.place_translated(domain, terms, memory) },
        }?;
        if placed.backing.is_copied() {
            self.counters.bounced(placed.backing.copied_bytes());
        }
        Ok(placed)
    }

    unsafe fn place_directly(
        &self,
        direct: &Direct,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        let in_place = direct.reach_all(memory.first, memory.pieces, terms.mask);
        let wanted = self.bounce.forced == Forced::Always
            || asks_for_copies(terms)
            || self.shares_lines(terms, memory);
        let failure = match in_place {
            // Coherent memory was allocated for the device: there is nothing to copy it to.
            outcome if terms.shape == Shape::AlignedBlock => {
                let (range, backing) = (outcome?, Backing::InPlace);
                self.clean_given(terms, memory, &backing);
                return Ok(Placed { range, backing });
            }
            Ok(range) if !wanted => {
                check_boundary(range, terms, memory.first)?;
                let backing = Backing::InPlace;
                self.clean_given(terms, memory, &backing);
                return Ok(Placed { range, backing });
            }
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        match (self.may_copy(terms, memory), failure) {
            (Ok(()), _) => {}
            (Err(MapFailure::NotRam { .. }), Some(failure)) => return Err(failure),
            (Err(refused), _) => return Err(refused),
        }
        let keep_mask = terms.min_align_mask;
        let request = self.request(memory, terms, keep_mask, 0);
        let reached = ThroughBridge {
            direct,
            mask: terms.mask,
        };
        let (name, pool) = (PoolName::Shared, self.bounce.shared);
        let run = match (pool.allocate(&request, &reached), failure) {
            (Ok(run), _) => run,
            // Not even a pool can help a device that reaches no memory at all.
            (Err(BounceError::Exhausted { .. }), Some(failure))
                if !self.reaches_memory(direct, terms.mask) =>
            {
                return Err(failure);
            }
            (Err(error), _) => return Err(error.into()),
        };
        let bus = direct.bus_range(run.bytes());
        let first = memory.first;
        let kept =
            |bus: BusRange| bus.start().as_u64() & keep_mask == first.start().as_u64() & keep_mask;
        let align_mask = keep_mask;
        let range = bus
            .filter(|&bus| kept(bus))
            .ok_or(BounceError::Misaligned { align_mask }.into())
            .and_then(|bus| check_boundary(bus, terms, first).map(|()| bus));
        let range = match range {
            Ok(range) => range,
            Err(failure) => {
                // SAFETY: the device was not told of it.
                unsafe { pool.release(run) };
                return Err(failure);
            }
        };
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { self.fill(&run, memory) };
        let backing = Backing::Whole { pool: name, run };
        Ok(Placed { range, backing })
    }

    unsafe fn place_translated(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        let page_log2 = domain.page_size_log2();
        // Coherent memory was allocated for the device: there is nothing to copy it to.
        let may_ask = terms.shape != Shape::AlignedBlock;
        if may_ask
            // SAFETY: the caller's promise.
            && let Some(pooled) = unsafe { self.place_pooled(domain, terms, memory) }
        {
            return pooled;
        }
        let backing = match may_ask && self.gives_copies_alone(terms) {
            // SAFETY: the caller's promise.
            true => unsafe { self.give_copy(page_log2, terms, memory) },
            // SAFETY: the caller's promise.
            false => unsafe { self.give(page_log2, terms, memory) },
        }?;
        self.map_given(domain, terms, memory, backing)
    }

    /// Maps what the device is given of the memory.
    pub(super) fn map_given(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
        backing: Backing,
    ) -> Result<Placed, MapFailure> {
        let first = backing.first(memory.first);
        let map = |list: &mut dyn PhysList| {
            let place = translated::place(domain.page_size_log2(), terms, first, list)?;
            translated::map(domain, place, list, terms.grant())
        };
        let mapped = match &backing {
            // Its own pieces are what is given.
            Backing::InPlace => map(memory.pieces),
            Backing::Whole { run, .. } if domain.page_size_log2() == FRAME_SIZE_LOG2 => {
                translated::map_one(domain, &self.limits, terms, run.bytes())
            }
            copied => map(&mut GivenList::new(memory, copied)),
        };
        match mapped {
            Ok(range) => Ok(Placed { range, backing }),
            Err(failure) => Err(self.not_given(backing, failure)),
        }
    }

    /// Whole frames for memory that a device shares, where all its memory is that of a pool; aligned to `2^align_log2` bytes.
    pub(crate) fn run_of_restricted_pool(
        &self,
        len_bytes: u64,
        align_log2: u32,
        mask: DmaMask,
    ) -> Result<Option<(&'static Pool<P>, Run)>, BounceError> {
        let (Route::Direct(direct), pool) = (&self.route, self.bounce.shared) else {
            return Ok(None);
        };
        if !pool.is_restricted() {
            return Ok(None);
        }
        let request = RunRequest {
            len_bytes,
            offset: 0,
            align_log2,
            granule_log2: FRAME_SIZE_LOG2,
            boundary_log2: u64::BITS,
            // It stands in for no other memory.
            origin: PhysAddr::new(0),
            direction: AnyDirection::Bidirectional,
        };
        let run = pool.allocate(&request, &ThroughBridge { direct, mask })?;
        Ok(Some((pool, run)))
    }

    fn reaches_memory(&self, direct: &Direct, mask: DmaMask) -> bool {
        let lowest = direct.lowest(self.platform);
        lowest.is_some_and(|(_, bus)| bus <= mask.last())
    }

    pub(super) fn request(
        &self,
        memory: &Memory<'_>,
        terms: &Terms,
        keep_mask: u64,
        granule_log2: u32,
    ) -> RunRequest {
        RunRequest {
            len_bytes: memory.len_bytes,
            offset: memory.first.start().as_u64() & keep_mask,
            align_log2: u64::BITS - keep_mask.leading_zeros(),
            granule_log2,
            boundary_log2: u64::BITS - terms.boundary.mask().leading_zeros(),
            origin: memory.first.start(),
            direction: terms.direction,
        }
    }

    /// Whether the mapping may be a copy, and there are bytes to copy.
    pub(super) fn may_copy(
        &self,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<(), MapFailure> {
        self.may_be_copied(terms, memory.first)?;
        match memory.contents {
            Contents::At(_) => Ok(()),
            Contents::AsLent => {
                memory.pieces.restart();
                while let Some(piece) = memory.pieces.next_range() {
                    self.check_ram(piece)?;
                }
                Ok(())
            }
        }
    }

    /// Bytes of the longest copy that the device, which nothing translates for, is sure to be given within `mask`.
    pub(crate) fn longest_direct_copy(&self, direct: &Direct, mask: DmaMask) -> u64 {
        self.bounce
            .shared
            .longest_run(&ThroughBridge { direct, mask })
    }

    /// Whether nothing but copies may be mapped for the device as `terms` say, behind an IOMMU.
    pub(crate) fn gives_copies_alone(&self, terms: &Terms) -> bool {
        self.bounce.own_for_all().is_some() || asks_for_copies(terms)
    }

    pub(super) fn may_be_copied(&self, terms: &Terms, memory: PhysRange) -> Result<(), MapFailure> {
        match terms.attributes.need {
            Need::Any => Ok(()),
            Need::Coherent => Err(MapFailure::WouldBounce { memory }),
        }
    }

    /// Whether the CPU has the memory where the platform has RAM.
    pub(super) fn check_ram(&self, memory: PhysRange) -> Result<(), MapFailure> {
        let mut is_ram = false;
        self.platform
            .memory_map(&mut |ram| is_ram |= ram.covers(memory));
        match is_ram {
            true => Ok(()),
            false => Err(MapFailure::NotRam { memory }),
        }
    }

    /// Copies the memory into the run, whatever the direction: what the device does not write keeps its value.
    ///
    /// # Safety
    /// The memory's contents are readable, and no reference that writes them is in use.
    pub(super) unsafe fn fill(&self, run: &Run, memory: &mut Memory<'_>) {
        match memory.contents {
            // SAFETY: the caller vouches for the contents.
            Contents::At(start) => unsafe { run.fill(self.platform, start) },
            Contents::AsLent => {
                run.blank_padding(self.platform);
                let mut done = 0;
                memory.pieces.restart();
                while let Some(piece) = memory.pieces.next_range() {
                    let start = self.platform.frame_pointer(piece.start());
                    // SAFETY: the pieces are as long as the run together; they are RAM, which the caller vouches for.
                    unsafe { run.copy_in(self.platform, done, start, piece.len_bytes()) };
                    done += piece.len_bytes();
                }
            }
        }
        self.clean_for_device(run.memory());
    }

    /// Brings what the CPU wrote to where a device that does not snoop sees it.
    pub(crate) fn clean_for_device(&self, memory: PhysRange) {
        let start = self.platform.frame_pointer(memory.start());
        self.clean_cache(start, memory.len_bytes());
    }

    /// Whether the device, which does not snoop, would write cache lines that hold others' memory as well: the CPU
    /// would write back what it has of them over it.
    pub(super) fn shares_lines(&self, terms: &Terms, memory: &mut Memory<'_>) -> bool {
        let may_share = self.coherence == Coherence::NotSnooped
            && memory.frames == Frames::Shared
            && terms.direction != AnyDirection::ToDevice;
        if !may_share {
            return false;
        }
        let line_bytes = self.platform.cache_line_bytes().max(LINE_BYTES);
        let aligned = |number: u64| number.is_multiple_of(line_bytes);
        memory.pieces.restart();
        while let Some(piece) = memory.pieces.next_range() {
            if !(aligned(piece.start().as_u64()) && aligned(piece.len_bytes())) {
                return true;
            }
        }
        false
    }
}

#[inline]
pub(super) fn asks_for_copies(terms: &Terms) -> bool {
    terms.attributes.protection == Some(Protection::Bounce) && terms.shape != Shape::AlignedBlock
}

/// Whether `range` keeps to the boundary that the driver set, if it did; `first` is the memory it is of.
pub(super) fn check_boundary(
    range: BusRange,
    terms: &Terms,
    first: PhysRange,
) -> Result<(), MapFailure> {
    match terms.boundary {
        Boundary::Required(boundary) if crosses(range, boundary) => {
            let memory = first;
            Err(MapFailure::CrossesBoundary { memory, boundary })
        }
        Boundary::Required(_) | Boundary::Preferred(_) => Ok(()),
    }
}

/// Memory for a device that the bus shows memory to as `direct` says.
pub(super) struct ThroughBridge<'a> {
    pub(super) direct: &'a Direct,
    pub(super) mask: DmaMask,
}

impl Exposure for ThroughBridge<'_> {
    fn last(&self) -> PhysAddr {
        self.direct.last_within(self.mask)
    }

    #[inline]
    fn reaches(&self, frames: PhysRange, _: Option<BusAddr>) -> bool {
        self.direct.reach(frames, self.mask).is_ok()
    }

    fn expose(&self, _: PhysRange) -> Result<Option<BusAddr>, DomainError> {
        Ok(None)
    }
}

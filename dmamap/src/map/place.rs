//! Where a mapping is: whether the device is given the memory itself or a copy, and at which bus addresses.
//!
//! On the direct route memory that the device does not reach is copied as a whole, so that it sees one segment. On the
//! translated route a page that holds others' memory as well is not given to a device that nobody vouched for: what lies
//! in it is copied to a page of its own, and the whole pages between are mapped in place.

use core::ptr::NonNull;

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::bounce::{AlwaysMapped, BounceError, Exposure, Forced, Pool, PoolName, Run, RunRequest};
use crate::buffer::Frames;
use crate::device::{Coherence, DeviceCore, Trust};
use crate::iommu::{Domain, DomainError};
use crate::map::attributes::Need;
use crate::map::backing::Backing;
use crate::map::direct::Direct;
use crate::map::edges::{self, EdgedList};
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::map::translated::{self, Room};
use crate::map::{AnyDirection, MapFailure};
use crate::pagetable::{MemoryType, PhysList, Replay};
use crate::platform::Platform;
use crate::system::Protection;

/// Bytes of the cache lines that a device that does not snoop must have to itself (`ARCH_DMA_MINALIGN` of Arm).
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
    /// Where the platform has memory at its physical address, if it is RAM; side by side where it is one piece.
    AsLent,
}

/// A mapping made.
pub(crate) struct Placed {
    /// With more than one piece in place on the direct route, the first piece's addresses.
    pub(crate) range: BusRange,
    pub(crate) backing: Backing,
}

impl<P: Platform> DeviceCore<P> {
    /// Makes a mapping.
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
                return Ok(Placed { range, backing });
            }
            Ok(range) if !wanted => {
                let backing = Backing::InPlace;
                return Ok(Placed { range, backing });
            }
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        let contents = match (self.may_copy(terms, memory), failure) {
            (Ok(contents), _) => contents,
            (Err(MapFailure::NotRam { .. }), Some(failure)) => return Err(failure),
            (Err(refused), _) => return Err(refused),
        };
        let keep_mask = self.limits.min_align_mask();
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
        let kept = |bus: BusRange| {
            let kept =
                bus.start().as_u64() & keep_mask == memory.first.start().as_u64() & keep_mask;
            let in_one = terms.shape == Shape::Single;
            kept && !(in_one && crosses(bus, self.limits.segment_boundary()))
        };
        let Some(range) = bus.filter(|&bus| kept(bus)) else {
            // SAFETY: the device was not told of it.
            unsafe { pool.release(run) };
            let align_mask = keep_mask;
            return Err(BounceError::Misaligned { align_mask }.into());
        };
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { self.fill(&run, contents) };
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
        if terms.shape != Shape::AlignedBlock {
            if let Some(own) = &self.bounce.own {
                let contents = self.may_copy(terms, memory)?;
                // Runs of memory of their own are mapped in whole pages.
                let page_log2 = match page_log2 {
                    FRAME_SIZE_LOG2 => 0,
                    larger => larger,
                };
                let request = self.request(memory, terms, self.limits.min_align_mask(), page_log2);
                let always = AlwaysMapped {
                    platform: self.platform,
                    domain,
                    permission: terms.permission(),
                    mask: terms.mask,
                };
                let run = own.of(terms.permission()).allocate(&request, &always)?;
                let name = PoolName::Own(terms.permission());
                // SAFETY: the caller's promise.
                return unsafe { self.map_copy(domain, terms, (name, run), contents) };
            }
            if asks_for_copies(terms) {
                // SAFETY: the caller's promise.
                return unsafe { self.copy_whole(domain, terms, memory) };
            }
        }
        let shared = match memory.frames {
            Frames::Whole => false,
            Frames::Shared => {
                self.guard.trust() == Trust::Withheld || self.shares_lines(terms, memory)
            }
        };
        let cut = edges::cut(memory, page_log2, shared);
        match cut {
            edges::Cut::InPlace => {
                let room = self.room(page_log2, terms);
                let placement = translated::place(room, memory.first, memory.len_bytes)?;
                let range = translated::map(
                    domain,
                    placement,
                    memory.pieces,
                    terms.permission(),
                    MemoryType::Normal,
                )?;
                let backing = Backing::InPlace;
                Ok(Placed { range, backing })
            }
            edges::Cut::Whole => {
                // SAFETY: the caller's promise.
                unsafe { self.copy_whole(domain, terms, memory) }
            }
            edges::Cut::Edges { head, tail } => {
                // SAFETY: the caller's promise.
                unsafe { self.copy_edges(domain, terms, memory, head, tail) }
            }
        }
    }

    /// Maps a copy of the memory in pages of its own.
    unsafe fn copy_whole(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        let contents = self.may_copy(terms, memory)?;
        let page_log2 = domain.page_size_log2();
        let keep_mask = self.limits.min_align_mask() | ((1 << page_log2) - 1);
        let request = self.request(memory, terms, keep_mask, page_log2);
        let run = self.bounce.shared.allocate(&request, &Anywhere)?;
        // SAFETY: the caller's promise.
        unsafe { self.map_copy(domain, terms, (PoolName::Shared, run), contents) }
    }

    unsafe fn map_copy(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        (pool, run): (PoolName, Run),
        contents: NonNull<u8>,
    ) -> Result<Placed, MapFailure> {
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { self.fill(&run, contents) };
        if let Some(range) = run.bus_range() {
            let backing = Backing::Whole { pool, run };
            return Ok(Placed { range, backing });
        }
        let room = self.room(domain.page_size_log2(), terms);
        let mapped = translated::place(room, run.bytes(), run.len_bytes()).and_then(|placement| {
            let mut list = Replay::new(core::iter::once(run.memory()));
            translated::map(
                domain,
                placement,
                &mut list,
                terms.permission(),
                MemoryType::Normal,
            )
        });
        match mapped {
            Ok(range) => {
                let backing = Backing::Whole { pool, run };
                Ok(Placed { range, backing })
            }
            // The copy is lost, not the memory.
            Err(MapFailure::Domain(error @ DomainError::Unconfirmed { undo, .. })) => {
                self.keep_copies_from_use(Backing::Whole { pool, run }, undo);
                Err(BounceError::Domain(error).into())
            }
            Err(failure) => {
                // SAFETY: a map that failed and was confirmed undone was never visible.
                unsafe { self.bounce.pool(pool).release(run) };
                Err(failure)
            }
        }
    }

    /// Maps the memory with what lies in its first and last page copied to pages of their own.
    unsafe fn copy_edges(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
        head: Option<PhysRange>,
        tail: Option<PhysRange>,
    ) -> Result<Placed, MapFailure> {
        self.may_be_copied(terms, memory.first)?;
        let page_log2 = domain.page_size_log2();
        let edge = |bytes: PhysRange| {
            let memory = &Memory {
                first: bytes,
                len_bytes: bytes.len_bytes(),
                pieces: &mut Replay::new(core::iter::once(bytes)),
                contents: Contents::AsLent,
                frames: Frames::Shared,
            };
            let request = self.request(memory, terms, (1 << page_log2) - 1, page_log2);
            let contents = self.lent_pointer(bytes)?;
            let run = self.bounce.shared.allocate(&request, &Anywhere)?;
            // SAFETY: the caller vouches for the memory, of which this is a part.
            unsafe { self.fill(&run, contents) };
            Ok::<Run, MapFailure>(run)
        };
        let head = head.map(edge).transpose()?;
        let tail = match tail.map(edge).transpose() {
            Ok(tail) => tail,
            Err(failure) => {
                let tail = None;
                // SAFETY: no device was given it.
                unsafe { Backing::Edges { head, tail }.release(self) };
                return Err(failure);
            }
        };
        let backing = Backing::Edges { head, tail };
        let Backing::Edges { head, tail } = &backing else {
            unreachable!("just made");
        };
        let first = head.as_ref().map_or(memory.first, Run::bytes);
        let room = self.room(page_log2, terms);
        let mut list = EdgedList::new(memory, head.as_ref(), tail.as_ref());
        let mapped = translated::place(room, first, list.len_bytes()).and_then(|placement| {
            translated::map(
                domain,
                placement,
                &mut list,
                terms.permission(),
                MemoryType::Normal,
            )
        });
        match mapped {
            Ok(range) => Ok(Placed { range, backing }),
            Err(failure) => {
                if let MapFailure::Domain(DomainError::Unconfirmed { undo, .. }) = failure {
                    self.keep_copies_from_use(backing, undo);
                } else {
                    // SAFETY: a map that failed and was confirmed undone was never visible.
                    unsafe { backing.release(self) };
                }
                Err(failure)
            }
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

    pub(crate) fn room(&self, page_log2: u32, terms: &Terms) -> Room {
        Room {
            page_log2,
            keep_log2: u64::BITS - self.limits.min_align_mask().leading_zeros(),
            mask: terms.mask,
            alignment: terms.shape.alignment(),
        }
    }

    fn request(
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
            boundary_log2: u64::BITS - self.limits.segment_boundary().leading_zeros(),
            origin: memory.first.start(),
            direction: terms.direction,
        }
    }

    /// Where the CPU has the bytes to copy, if the mapping may be a copy.
    fn may_copy(&self, terms: &Terms, memory: &Memory<'_>) -> Result<NonNull<u8>, MapFailure> {
        let first = memory.first;
        self.may_be_copied(terms, first)?;
        match memory.contents {
            Contents::At(start) => Ok(start),
            Contents::AsLent if first.len_bytes() != memory.len_bytes => {
                Err(MapFailure::NotContiguous { first })
            }
            Contents::AsLent => self.lent_pointer(first),
        }
    }

    fn may_be_copied(&self, terms: &Terms, memory: PhysRange) -> Result<(), MapFailure> {
        match terms.attributes.need {
            Need::Any => Ok(()),
            Need::Coherent => Err(MapFailure::WouldBounce { memory }),
        }
    }

    /// The CPU's pointer to RAM.
    fn lent_pointer(&self, memory: PhysRange) -> Result<NonNull<u8>, MapFailure> {
        let mut is_ram = false;
        self.platform
            .memory_map(&mut |ram| is_ram |= ram.covers(memory));
        match is_ram {
            true => Ok(self.platform.frame_pointer(memory.start())),
            false => Err(MapFailure::NotRam { memory }),
        }
    }

    /// Copies the memory into the run, whatever the direction: what the device does not write keeps its value.
    unsafe fn fill(&self, run: &Run, contents: NonNull<u8>) {
        // SAFETY: the caller vouches for the contents.
        unsafe { run.fill(self.platform, contents) };
        self.clean_for_device(run.memory());
    }

    /// Brings what the CPU wrote to where a device that does not snoop sees it.
    pub(crate) fn clean_for_device(&self, memory: PhysRange) {
        let start = self.platform.frame_pointer(memory.start());
        self.clean_cache(start, memory.len_bytes());
    }

    /// Whether the device, which does not snoop, would write cache lines that hold others' memory as well: the CPU
    /// would write back what it has of them over it.
    fn shares_lines(&self, terms: &Terms, memory: &Memory<'_>) -> bool {
        let aligned = |number: u64| number.is_multiple_of(LINE_BYTES);
        self.coherence == Coherence::NotSnooped
            && memory.frames == Frames::Shared
            && terms.direction != AnyDirection::ToDevice
            && !(aligned(memory.first.start().as_u64()) && aligned(memory.len_bytes))
    }
}

fn asks_for_copies(terms: &Terms) -> bool {
    terms.attributes.protection == Some(Protection::Bounce) && terms.shape != Shape::AlignedBlock
}

/// Whether `range`, no longer than what lies between two of them, crosses a multiple of `boundary + 1`.
fn crosses(range: BusRange, boundary: u64) -> bool {
    range.len_bytes() - 1 <= boundary
        && range.start().as_u64() & !boundary != range.last().as_u64() & !boundary
}

/// Memory for a device that the bus shows memory to as `direct` says.
struct ThroughBridge<'a> {
    direct: &'a Direct,
    mask: DmaMask,
}

impl Exposure for ThroughBridge<'_> {
    fn last(&self) -> PhysAddr {
        self.direct.last_within(self.mask)
    }

    fn reaches(&self, frames: PhysRange, _: Option<BusAddr>) -> bool {
        self.direct.reach(frames, self.mask).is_ok()
    }

    fn expose(&self, _: PhysRange) -> Result<Option<BusAddr>, DomainError> {
        Ok(None)
    }
}

/// Memory that is mapped for each mapping.
struct Anywhere;

impl Exposure for Anywhere {
    fn last(&self) -> PhysAddr {
        PhysAddr::new(u64::MAX)
    }

    fn reaches(&self, _: PhysRange, _: Option<BusAddr>) -> bool {
        true
    }

    fn expose(&self, _: PhysRange) -> Result<Option<BusAddr>, DomainError> {
        Ok(None)
    }
}

//! The memory behind coherent elements, and how it goes back.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::CoherentFailure;
use super::declared::DeclaredRun;
use super::options::{CoherentOptions, CpuStores, Placement};
use crate::addr::{BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, PhysRange, VirtAddr};
use crate::buffer::{BufferError, DmaBuffer, DmaMemory, ScatteredBuffer};
use crate::device::{Coherence, Device};
use crate::map::Bidirectional;
use crate::map::error::Quarantined;
use crate::map::establish::check_owner;
use crate::map::live::Live;
use crate::map::terms::{Shape, Terms};
use crate::map::uncached::Uncached;
use crate::platform::{MemoryAttribute, Platform};

/// log2 of the alignment in memory that is worth asking for where the IOMMU aligns bus addresses: a large leaf.
const LARGE_LEAF_LOG2: u32 = 21;

/// Frames of the platform's, in a row or not.
pub(super) enum Frames<P: Platform> {
    Contiguous(DmaBuffer<P>),
    Scattered(ScatteredBuffer<P>),
}

/// Whether the CPU is to reach memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuReach {
    Elements,
    None,
}

/// What holds elements that a device reaches.
pub(super) enum Memory<P: Platform> {
    /// The platform's memory, mapped.
    Mapped {
        live: Live<P>,
        frames: Frames<P>,
        /// The CPU's way past its caches, where it takes that. Ends before the frames go back.
        uncached: Option<Uncached<P>>,
        /// How the CPU maps it there.
        attribute: Option<MemoryAttribute>,
        stores: CpuStores,
    },
    /// The device's own.
    Declared(DeclaredRun<P>),
}

impl<P: Platform> Memory<P> {
    /// Memory of at least `len_bytes` zeroed bytes, aligned on the bus to the power of two of bytes that holds them all.
    pub(super) fn obtain(
        device: &Device<P>,
        len_bytes: u64,
        options: CoherentOptions,
        reach: CpuReach,
    ) -> Result<Self, CoherentFailure> {
        if len_bytes == 0 {
            return Err(BufferError::Empty.into());
        }
        let too_long = BufferError::TooLong { len_bytes };
        let page_bytes = device.page_bytes();
        // Where the unit's pages are larger than frames, whole pages: all of them become reachable.
        let whole = match page_bytes {
            FRAME_BYTES => len_bytes,
            _ => len_bytes
                .checked_next_multiple_of(page_bytes)
                .ok_or(too_long)?,
        };
        let mask = device.coherent_reach();
        if let Some(run) = device.core().coherent.declared_run(whole, mask) {
            return Ok(Self::Declared(run?));
        }
        let core = device.core();
        let attribute = match (reach, options.stores, core.coherence) {
            (CpuReach::None, _, _)
            | (CpuReach::Elements, CpuStores::Ordered, Coherence::Snooped) => None,
            (CpuReach::Elements, CpuStores::Ordered, Coherence::NotSnooped) => {
                Some(MemoryAttribute::Uncached)
            }
            (CpuReach::Elements, CpuStores::Combined, _) => Some(MemoryAttribute::WriteCombining),
        };
        // The platform maps frames with an attribute in a row only.
        let placement = attribute.map_or(options.placement, |_| Placement::Contiguous);
        let mut frames = Frames::allocate(device, whole, placement)?;
        // Before the device reaches the memory: the lines that are dropped are the CPU's alone.
        let uncached = match (&mut frames, attribute) {
            (Frames::Contiguous(buffer), Some(attribute)) => {
                // Frames that another machine lent, to an area say, are not this one's to map.
                check_owner(core, buffer, buffer.segment(0))?;
                let mapped = Uncached::map(core, buffer, attribute);
                Some(mapped.map_err(CoherentFailure::Uncached)?)
            }
            _ => None,
        };
        let terms = Terms::new(mask, Shape::AlignedBlock, Bidirectional).with(options.attributes());
        match Live::establish_owned(device, ManuallyDrop::new(frames), terms, |live, frames| {
            (live, frames)
        }) {
            Ok((live, frames)) => Ok(Self::Mapped {
                live,
                frames: ManuallyDrop::into_inner(frames),
                uncached,
                attribute,
                stores: options.stores,
            }),
            Err(rejected) => {
                // Before the frames are freed with what is left of `rejected`.
                drop(uncached);
                Err(rejected.error.failure.into())
            }
        }
    }

    pub(super) fn bus(&self) -> BusRange {
        match self {
            Self::Mapped { live, .. } => live.range(),
            Self::Declared(run) => run.bus(),
        }
    }

    pub(super) fn pointer(&self) -> NonNull<u8> {
        match self {
            Self::Mapped {
                frames, uncached, ..
            } => match uncached {
                Some(uncached) => uncached.pointer(),
                None => frames.pointer(),
            },
            Self::Declared(run) => run.pointer(),
        }
    }

    /// Y: the physical pieces that it is in, in order; none of memory that is a device's own.
    pub(super) fn pieces(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let frames = match self {
            Self::Mapped { frames, .. } => Some(frames),
            Self::Declared(_) => None,
        };
        let mut offset = 0;
        core::iter::from_fn(move || {
            let piece = frames?.segment(offset);
            offset += piece.len_bytes();
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// What the CPU's mapping of it is, where it is not an ordinary one.
    pub(super) fn attribute(&self) -> Option<MemoryAttribute> {
        match self {
            Self::Mapped { attribute, .. } => *attribute,
            Self::Declared(_) => None,
        }
    }

    /// How stores of the CPU reach it.
    pub(super) fn stores(&self) -> CpuStores {
        match self {
            Self::Mapped { stores, .. } => *stores,
            // How the port mapped it is not known.
            Self::Declared(_) => CpuStores::Combined,
        }
    }

    /// Gives it back, when the device has lost it.
    pub(super) fn free(self) -> Result<(), Quarantined> {
        match self {
            Self::Mapped {
                live,
                frames,
                uncached,
                ..
            } => {
                let coherence = live.held().core().coherence;
                let frames = live.revoke_owned(ManuallyDrop::new(frames))?;
                match (uncached, coherence) {
                    (Some(uncached), Coherence::Snooped) => uncached.end(&frames),
                    // Revoking dropped the lines of what a device wrote past the caches.
                    (uncached, _) => drop(uncached),
                }
                drop(frames);
                Ok(())
            }
            Self::Declared(run) => {
                drop(run);
                Ok(())
            }
        }
    }
}

impl<P: Platform> Frames<P> {
    /// In a row if possible, from the area that serves the device or from the platform; else, behind an IOMMU and unless it
    /// must be in a row, from anywhere.
    fn allocate(
        device: &Device<P>,
        len_bytes: u64,
        placement: Placement,
    ) -> Result<Self, CoherentFailure> {
        let page_log2 = device.page_bytes().ilog2();
        let order_log2 = len_bytes
            .checked_next_multiple_of(1 << page_log2)
            .and_then(u64::checked_next_power_of_two)
            .map_or(FRAME_SIZE_LOG2, u64::ilog2);
        let core = device.core();
        let translated = core.route.joins_pieces();
        // Where bus addresses are chosen they are aligned whatever memory is.
        let align_log2 = match translated {
            true => order_log2.min(LARGE_LEAF_LOG2).max(page_log2),
            false => order_log2,
        };
        let mask = device.coherent_reach();
        if let Some((pool, run)) = core.run_of_restricted_pool(len_bytes, align_log2, mask)? {
            let buffer = DmaBuffer::of_pool(device.platform(), pool, run, len_bytes);
            return Ok(Self::Contiguous(buffer));
        }
        let last = core.route.last_within(mask);
        if len_bytes > FRAME_BYTES
            && let Some(area) = core.contiguous_area()
            && let Ok(buffer) = area.allocate(len_bytes, last, align_log2)
        {
            return Ok(Self::Contiguous(buffer));
        }
        match DmaBuffer::allocate_within(device.platform(), len_bytes, last, align_log2) {
            Ok(buffer) => Ok(Self::Contiguous(buffer)),
            Err(BufferError::OutOfFrames(_))
                if translated && placement == Placement::Any && len_bytes > 1 << page_log2 =>
            {
                Ok(Self::Scattered(ScatteredBuffer::allocate_for(
                    device, len_bytes,
                )?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// From anywhere where an IOMMU joins the pieces for the device, else in a row within reach of `device`.
    pub(super) fn allocate_noncontiguous(
        device: &Device<P>,
        len_bytes: u64,
    ) -> Result<Self, BufferError> {
        if device.core().route.joins_pieces() {
            return ScatteredBuffer::allocate_for(device, len_bytes).map(Self::Scattered);
        }
        let last = device.core().route.last_within(device.reach());
        DmaBuffer::allocate_within(device.platform(), len_bytes, last, FRAME_SIZE_LOG2)
            .map(Self::Contiguous)
    }
}

// SAFETY: each kind of buffer keeps these promises, and which one it is does not change.
unsafe impl<P: Platform> DmaMemory for Frames<P> {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Contiguous(buffer) => buffer.len_bytes(),
            Self::Scattered(buffer) => buffer.len_bytes(),
        }
    }

    fn virt(&self) -> VirtAddr {
        match self {
            Self::Contiguous(buffer) => buffer.virt(),
            Self::Scattered(buffer) => buffer.virt(),
        }
    }

    fn pointer(&self) -> NonNull<u8> {
        match self {
            Self::Contiguous(buffer) => buffer.pointer(),
            Self::Scattered(buffer) => buffer.pointer(),
        }
    }

    fn segment(&self, offset: u64) -> PhysRange {
        match self {
            Self::Contiguous(buffer) => buffer.segment(offset),
            Self::Scattered(buffer) => buffer.segment(offset),
        }
    }
}

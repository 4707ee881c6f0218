//! Handing entries over by a flag: the body first, then the word that says it is valid.
//!
//! Coherent memory needs no syncs, but a device may fetch an entry between any two stores. So the body is written, a
//! barrier stands, and only then the flag is stored; and who takes an entry reads the flag, lets a barrier stand, and
//! reads the body after it. [`Descriptors`] knows no other way to reach its memory, so no entry is half published and none is
//! read too early.
//!
//! ```
//! # use board as _;
//! use core::mem::offset_of;
//! use dmamap::device::Device;
//! use dmamap::map::{Descriptors, Published};
//! use zerocopy::{FromBytes, Immutable, IntoBytes};
//!
//! #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
//! #[repr(C)]
//! struct Descriptor {
//!     address: u64,
//!     len_bytes: u32,
//!     owner: u32, // 1: the device's
//! }
//!
//! impl Published for Descriptor {
//!     type Entry = Self;
//!     type Flag = u32;
//!     const FLAG_OFFSET: usize = offset_of!(Self, owner);
//! }
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>, address: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let ring = Descriptors::<_, Descriptor>::new(device.alloc_coherent(256)?);
//! ring.publish(0, Descriptor { address, len_bytes: 512, owner: 1 })?;
//! // … the doorbell is rung, the device works, and gives the entry back …
//! if let Some(done) = ring.consume(0, |owner| owner == 0)? {
//!     assert!(done.len_bytes <= 512);
//! }
//! # Ok(())
//! # }
//! ```

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use zerocopy::{FromBytes, IntoBytes};

use super::elements::{Elements, Shared};
use crate::addr::{BusAddr, BusRange};
use crate::map::view::OutOfBounds;
use crate::platform::Platform;

mod sealed {
    pub trait Sealed {}
}

/// A word that is read and written by one access: `u8`, `u16`, `u32`, and `u64` where the CPU has such accesses.
pub trait FlagWord: Shared + sealed::Sealed {}

macro_rules! flag_words {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl FlagWord for $word {}
    )*};
}
flag_words!(u8, u16, u32);
#[cfg(target_pointer_width = "64")]
flag_words!(u64);

/// How entries of a ring are handed over: which word of them says that the rest is valid.
///
/// Implemented by the entry itself, or by a type of the driver's where the entry is somebody else's. A flag that does not lie
/// inside the entry, aligned, ends the compilation of a program with such [`Descriptors`].
pub trait Published {
    /// What lies in the ring.
    type Entry: Shared;
    /// The word of it that is written last and read first.
    type Flag: FlagWord;
    /// Where that is in the entry, in bytes.
    const FLAG_OFFSET: usize;
}

/// Byte `0` of the flag and the byte after it.
const fn flag_bytes<D: Published>() -> (usize, usize) {
    let (start, end) = (
        D::FLAG_OFFSET,
        D::FLAG_OFFSET.saturating_add(size_of::<D::Flag>()),
    );
    assert!(
        end <= size_of::<D::Entry>(),
        "the flag lies inside the entry"
    );
    let align = align_of::<D::Flag>();
    assert!(
        align_of::<D::Entry>() >= align && start.is_multiple_of(align),
        "the flag is aligned in every entry"
    );
    (start, end)
}

/// A ring of entries that are published and consumed, and reached in no other way.
///
/// `M` is the memory it lies in: [`Coherent`](super::Coherent), or any other that
/// derefs to [`Elements`].
pub struct Descriptors<M, D: Published> {
    memory: M,
    of: PhantomData<fn() -> D>,
}

impl<P, M, D> Descriptors<M, D>
where
    P: Platform,
    M: Deref<Target = Elements<P, D::Entry>>,
    D: Published,
{
    /// Rules that `memory` is reached by publishing and consuming alone from now on.
    pub fn new(memory: M) -> Self {
        const { flag_bytes::<D>() };
        Self {
            memory,
            of: PhantomData,
        }
    }

    /// Writes entry `index`: its body, and when that is visible to the device its flag, by one store.
    ///
    /// What follows, a doorbell for one, needs the order that [`Register::write`](crate::mmio::Register::write) keeps.
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last entry; nothing is written.
    pub fn publish(&self, index: usize, entry: D::Entry) -> Result<(), OutOfBounds> {
        let (flag_start, flag_end) = const { flag_bytes::<D>() };
        let at = self.offset(index)?;
        let bytes = entry.as_bytes();
        self.memory.write_bytes(at, &bytes[..flag_start])?;
        self.memory
            .write_bytes(at + flag_end as u64, &bytes[flag_end..])?;
        let flag = D::Flag::read_from_bytes(&bytes[flag_start..flag_end]);
        let flag = flag.expect("the slice has as many bytes as the flag");
        self.memory.order_stores();
        self.memory.write_at(at + flag_start as u64, flag)
    }

    /// Takes entry `index` if its flag, read by one load, is one that `is_ours` knows; the body is read after it. What comes back
    /// holds the flag that was judged, whatever a device writes meanwhile.
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last entry.
    pub fn consume(
        &self,
        index: usize,
        is_ours: impl FnOnce(D::Flag) -> bool,
    ) -> Result<Option<D::Entry>, OutOfBounds> {
        let (flag_start, flag_end) = const { flag_bytes::<D>() };
        let flag = self.flag(index)?;
        if !is_ours(flag) {
            return Ok(None);
        }
        self.memory.platform().dma_rmb();
        let mut entry = self.memory.read(index)?;
        entry.as_mut_bytes()[flag_start..flag_end].copy_from_slice(flag.as_bytes());
        Ok(Some(entry))
    }

    /// The flag of entry `index`, as it is now. Whoever acts on the rest of the entry takes it by
    /// [`consume`](Self::consume).
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last entry.
    pub fn flag(&self, index: usize) -> Result<D::Flag, OutOfBounds> {
        let at = self.offset(index)?;
        self.memory.read_at(at + D::FLAG_OFFSET as u64)
    }

    /// Writes the flag of entry `index` alone, after everything written before is visible to the device: to give an entry back
    /// whose body says nothing any more.
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last entry.
    pub fn publish_flag(&self, index: usize, flag: D::Flag) -> Result<(), OutOfBounds> {
        let at = self.offset(index)?;
        self.memory.order_stores();
        self.memory.write_at(at + D::FLAG_OFFSET as u64, flag)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// Z: where the device finds the first entry.
    pub fn bus_addr(&self) -> BusAddr {
        self.memory.bus_addr()
    }

    /// All bus addresses of the ring.
    pub fn range(&self) -> BusRange {
        self.memory.range()
    }

    /// The memory, to be reached in other ways again, or freed.
    pub fn into_memory(self) -> M {
        self.memory
    }

    fn offset(&self, index: usize) -> Result<u64, OutOfBounds> {
        let (len_bytes, count) = (size_of::<D::Entry>() as u64, self.memory.len() as u64);
        let offset = (index as u64).saturating_mul(len_bytes);
        OutOfBounds::check(self.memory.device(), offset, len_bytes, count * len_bytes)?;
        Ok(offset)
    }
}

impl<M: fmt::Debug, D: Published> fmt::Debug for Descriptors<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Descriptors({:?})", self.memory)
    }
}

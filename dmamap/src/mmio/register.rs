//! One register and its accesses.

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::ReadWrite;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Mapping;
use crate::addr::VirtAddr;
use crate::platform::Platform;

mod sealed {
    pub trait Sealed {}
}

/// What one access can carry: `u8`, `u16`, `u32` or `u64`.
pub trait RegisterValue:
    sealed::Sealed + Copy + FromBytes + IntoBytes + Immutable + Send + Sync + 'static
{
    /// Bytes of it, which a register's address is a multiple of.
    const LEN_BYTES: u64 = size_of::<Self>() as u64;

    /// All bits set: what a read gives where nothing answers.
    const ONES: Self;
}

macro_rules! register_value {
    ($($value:ty),*) => {$(
        impl sealed::Sealed for $value {}
        impl RegisterValue for $value {
            const ONES: Self = <$value>::MAX;
        }
    )*};
}
register_value!(u8, u16, u32, u64);

/// One register. Clones are the same register.
///
/// Holding one proves that it is mapped: it keeps the window's mapping, and so its claim, alive.
pub struct Register<P: Platform, T: RegisterValue> {
    mapping: Arc<Mapping<P>>,
    pointer: NonNull<T>,
}

// SAFETY: an access is one whole access to device memory, which the platform answers from any CPU.
unsafe impl<P: Platform, T: RegisterValue> Send for Register<P, T> {}
// SAFETY: as above; shared accesses are whole ones and meet no Rust object.
unsafe impl<P: Platform, T: RegisterValue> Sync for Register<P, T> {}

impl<P: Platform, T: RegisterValue> Register<P, T> {
    /// # Safety
    /// `pointer` is aligned, and all bytes of the register are within `mapping`.
    pub(super) unsafe fn new(mapping: Arc<Mapping<P>>, pointer: NonNull<T>) -> Self {
        Self { mapping, pointer }
    }

    /// Reads the register; what follows, accesses to memory too, is done after it.
    pub fn read(&self) -> T {
        let value = self.read_relaxed();
        self.mapping.platform.dma_rmb();
        value
    }

    /// Writes the register after everything written to memory before is visible to the device.
    pub fn write(&self, value: T) {
        self.mapping.platform.dma_wmb();
        self.write_relaxed(value);
    }

    /// Reads the register, in no order with accesses to memory.
    pub fn read_relaxed(&self) -> T {
        self.access().read()
    }

    /// Writes the register, in no order with accesses to memory.
    pub fn write_relaxed(&self, value: T) {
        self.access().write(value);
    }

    /// The pointer for one access.
    fn access(&self) -> UniqueMmioPointer<'_, ReadWrite<T>> {
        // SAFETY: the register is aligned and within a live mapping (promised to `new`, kept alive by
        // `self`), which is device memory that may be read and written from any thread. The claim keeps
        // every other owner away; our own other handles make single whole accesses as this one does, so
        // there is nothing that an alias could see half done.
        unsafe { UniqueMmioPointer::new(self.pointer.cast()) }
    }
}

impl<P: Platform> Register<P, u64> {
    /// Reads the register as two 32-bit halves, low half first, for hardware that has no 64-bit accesses.
    /// Ordered as [`read`](Self::read); the halves are of two moments.
    pub fn read_lo_hi(&self) -> u64 {
        let [mut low, mut high] = self.halves();
        let value = u64::from(low.read()) | u64::from(high.read()) << 32;
        self.mapping.platform.dma_rmb();
        value
    }

    /// Writes the register as two 32-bit halves, low half first. Ordered as [`write`](Self::write).
    pub fn write_lo_hi(&self, value: u64) {
        self.mapping.platform.dma_wmb();
        let [mut low, mut high] = self.halves();
        low.write(value as u32);
        high.write((value >> 32) as u32);
    }

    fn halves(&self) -> [UniqueMmioPointer<'_, ReadWrite<u32>>; 2] {
        let low = self.pointer.cast::<ReadWrite<u32>>();
        // SAFETY: the register is 8 bytes long and aligned to them, so both halves are aligned and within it; for
        // the rest as in `access`.
        unsafe {
            [
                UniqueMmioPointer::new(low),
                UniqueMmioPointer::new(low.add(1)),
            ]
        }
    }
}

impl<P: Platform, T: RegisterValue> Clone for Register<P, T> {
    fn clone(&self) -> Self {
        Self {
            mapping: Arc::clone(&self.mapping),
            pointer: self.pointer,
        }
    }
}

impl<P: Platform, T: RegisterValue> fmt::Debug for Register<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = 8 * T::LEN_BYTES;
        write!(
            f,
            "Register({bits} bits at {:?})",
            VirtAddr::from_ptr(self.pointer.as_ptr())
        )
    }
}

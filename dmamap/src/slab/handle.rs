//! Names of objects.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

use super::slots::Slots;

/// The name of an object in one [`Slab`](super::Slab).
///
/// It says nothing about whether the object still lives, and a later object may get the same handle: whoever
/// must tell them apart keeps a generation in the object.
pub struct Handle<T> {
    /// Frame number and slot, plus one.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    pub(super) fn new(frame: u32, slot: u16) -> Self {
        let number = NonZeroU32::MIN.saturating_add(frame << Slots::<T>::BITS | u32::from(slot));
        Self {
            number,
            of: PhantomData,
        }
    }

    pub(super) fn frame(self) -> u32 {
        (self.number.get() - 1) >> Slots::<T>::BITS
    }

    pub(super) fn slot(self) -> u16 {
        ((self.number.get() - 1) & ((1 << Slots::<T>::BITS) - 1)) as u16
    }

    /// The handle as a number, for printing and for packing into words.
    pub fn number(self) -> NonZeroU32 {
        self.number
    }

    /// The handle whose [`number`](Self::number) is `number`.
    pub fn from_number(number: NonZeroU32) -> Self {
        Self {
            number,
            of: PhantomData,
        }
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Handle<T> {}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}

//! A value of any type, of which only its end is known: what a quarantine keeps.
//!
//! It lies in the slot itself, or in frames of its own where it is larger: never in the general heap.

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

use crate::addr::{FRAME_BYTES, PhysRange};
use crate::platform::{FrameRequest, Platform};

/// Words of a value that needs no frame: every buffer of this crate, and more.
const INLINE_WORDS: usize = 24;

enum Place {
    Inline([MaybeUninit<u64>; INLINE_WORDS]),
    Frames(PhysRange),
}

/// A value somewhere. Dropping this drops the value.
pub(crate) struct Erased<P: Platform> {
    platform: P,
    place: Place,
    /// Drops the value a pointer leads to.
    drop: unsafe fn(NonNull<u8>),
}

// SAFETY: only values that are `Send` are taken, and the value is reached by dropping alone.
unsafe impl<P: Platform> Send for Erased<P> {}

impl<P: Platform> Erased<P> {
    /// Takes `value`, or gives it back where the platform has no frames for it.
    pub(crate) fn new<T: Send + 'static>(
        platform: P,
        value: ManuallyDrop<T>,
    ) -> Result<Self, ManuallyDrop<T>> {
        let place = if size_of::<T>() <= size_of::<[u64; INLINE_WORDS]>()
            && align_of::<T>() <= align_of::<u64>()
        {
            Place::Inline([MaybeUninit::uninit(); INLINE_WORDS])
        } else {
            let count = size_of::<T>().div_ceil(FRAME_BYTES as usize).max(1);
            if align_of::<T>() as u64 > FRAME_BYTES {
                return Err(value);
            }
            match platform.allocate_frames(FrameRequest::new(count)) {
                Ok(frames) => Place::Frames(frames),
                Err(_) => return Err(value),
            }
        };
        let mut this = Self {
            platform,
            place,
            // Until the value is there.
            drop: |_| (),
        };
        // SAFETY: the place has room for a `T` and its alignment, and nobody else uses it.
        unsafe { this.pointer().cast::<ManuallyDrop<T>>().write(value) };
        // SAFETY: the contract is `drop`'s: the pointer leads to a `T` that is dropped once.
        this.drop = |value| unsafe { value.cast::<T>().drop_in_place() };
        Ok(this)
    }

    fn pointer(&mut self) -> NonNull<u8> {
        match &mut self.place {
            Place::Inline(words) => NonNull::from(words).cast(),
            Place::Frames(frames) => self.platform.frame_pointer(frames.start()),
        }
    }
}

impl<P: Platform> Drop for Erased<P> {
    fn drop(&mut self) {
        let value = self.pointer();
        // SAFETY: `new` put a value of the type there that this function drops, and this is the only time.
        unsafe { (self.drop)(value) };
        if let Place::Frames(frames) = self.place {
            // SAFETY: lent by `allocate_frames` in `new`; the value in them is gone.
            unsafe { self.platform.free_frames(frames) };
        }
    }
}

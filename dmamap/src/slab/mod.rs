//! Objects kept in frames of the platform: what map and unmap allocate from.
//!
//! Mapping happens where sleeping is forbidden and failing is normal, so nothing there uses the general
//! allocator. A [`Slab`] takes single frames from the [`Platform`], cuts each into slots of one type, and names
//! an object by a [`Handle`]: 32 bits that fit a tree node twice and cannot dangle. Allocating and freeing
//! are O(1); [`Slab::reclaim`] gives wholly empty frames back.
//!
//! A frame starts with a header: its chain of free slots, and its links in the list of frames that have one
//! (`slots.rs`). Two levels of directory frames lead from a frame's number to the frame (`directory.rs`):
//! 16 million objects of 64 bytes.
//!
//! ```no_run
//! use dmamap::platform::Platform;
//! use dmamap::slab::{Slab, SlabError};
//!
//! fn example<P: Platform>(platform: P) -> Result<(), SlabError> {
//!     let mut slab = Slab::new(platform);
//!     let handle = slab.insert("an object")?;
//!     assert_eq!(slab[handle], "an object");
//!     assert_eq!(slab.remove(handle), Some("an object"));
//!     assert_eq!(slab.get(handle), None);
//!     slab.reclaim();
//!     assert_eq!(slab.frames(), 0);
//!     Ok(())
//! }
//! ```

mod directory;
mod handle;
mod slots;

use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

use crate::platform::{OutOfFrames, Platform};
use directory::Directory;
pub use handle::Handle;
use slots::Slots;

/// Why an object found no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlabError {
    /// The platform has no frame.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
    /// Every number the directory can hold is taken.
    #[error("all {0} frames a slab can number are full")]
    Full(
        /// How many that are.
        usize,
    ),
}

/// Objects of one type in frames. Its own memory (this struct) is small and fixed.
pub struct Slab<P: Platform, T> {
    directory: Directory<P>,
    /// Number of the first frame with a free slot.
    open: Option<u32>,
    free: usize,
    len: usize,
    objects: PhantomData<T>,
}

impl<P: Platform, T> Slab<P, T> {
    /// A slab without objects, which holds no frame.
    pub const fn new(platform: P) -> Self {
        Self {
            directory: Directory::new(platform),
            open: None,
            free: 0,
            len: 0,
            objects: PhantomData,
        }
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frames held, for objects and for the directory.
    pub fn frames(&self) -> usize {
        self.directory.frames()
    }

    /// Makes sure that the next `additional` insertions succeed.
    ///
    /// # Errors
    /// [`SlabError`] when a frame was missing. Frames taken before that stay, empty, until
    /// [`reclaim`](Self::reclaim).
    pub fn reserve(&mut self, additional: usize) -> Result<(), SlabError> {
        while self.free < additional {
            self.add_frame()?;
        }
        Ok(())
    }

    /// Places `value`. After a successful [`reserve`](Self::reserve) this cannot fail.
    ///
    /// # Errors
    /// [`SlabError`] when a frame was missing; `value` is dropped (reserve first where that matters).
    pub fn insert(&mut self, value: T) -> Result<Handle<T>, SlabError> {
        let frame = match self.open {
            Some(frame) => frame,
            None => self.add_frame()?,
        };
        let mut slots = self
            .slots(frame)
            .expect("a frame in the list of open frames is held");
        let slot = slots.insert(value);
        self.free -= 1;
        self.len += 1;
        if slots.is_full() {
            self.close(frame, slots);
        }
        Ok(Handle::new(frame, slot))
    }

    /// Takes the object out; `None` when there is none of that name.
    pub fn remove(&mut self, handle: Handle<T>) -> Option<T> {
        let mut slots = self.slots(handle.frame())?;
        let was_full = slots.is_full();
        let value = slots.remove(handle.slot())?;
        self.free += 1;
        self.len -= 1;
        if was_full {
            self.open(handle.frame(), slots);
        }
        Some(value)
    }

    /// The object, or `None` when there is none of that name.
    pub fn get(&self, handle: Handle<T>) -> Option<&T> {
        // SAFETY: the slab is borrowed for as long as the reference lives, and only `&mut self` changes or
        // frees a slot.
        self.slots(handle.frame())?
            .get(handle.slot())
            .map(|slot| unsafe { slot.as_ref() })
    }

    /// The object, or `None` when there is none of that name.
    pub fn get_mut(&mut self, handle: Handle<T>) -> Option<&mut T> {
        // SAFETY: the slab is mutably borrowed for as long as the reference lives.
        self.slots(handle.frame())?
            .get(handle.slot())
            .map(|mut slot| unsafe { slot.as_mut() })
    }

    /// Gives frames without an object back to the platform; returns how many.
    pub fn reclaim(&mut self) -> usize {
        let before = self.frames();
        let mut next = self.open;
        while let Some(frame) = next {
            let slots = self
                .slots(frame)
                .expect("a frame in the list of open frames is held");
            next = slots.next();
            if slots.is_unused() {
                self.close(frame, slots);
                self.free -= usize::from(Slots::<T>::COUNT);
                // SAFETY: the frame has no object and is in no list.
                unsafe { self.directory.remove(frame) };
            }
        }
        before - self.frames()
    }

    fn add_frame(&mut self) -> Result<u32, SlabError> {
        let (frame, pointer) = self.directory.add()?;
        // SAFETY: the frame was just lent and nothing else uses it.
        let slots = unsafe { Slots::<T>::format(pointer) };
        self.free += usize::from(Slots::<T>::COUNT);
        self.open(frame, slots);
        Ok(frame)
    }

    /// Puts a frame at the head of the list of frames with a free slot.
    fn open(&mut self, frame: u32, mut slots: Slots<T>) {
        slots.set_next(self.open);
        slots.set_previous(None);
        if let Some(mut next) = self.open.and_then(|next| self.slots(next)) {
            next.set_previous(Some(frame));
        }
        self.open = Some(frame);
    }

    /// Takes a frame out of the list of frames with a free slot.
    fn close(&mut self, frame: u32, slots: Slots<T>) {
        let (previous, next) = (slots.previous(), slots.next());
        if let Some(mut next) = next.and_then(|next| self.slots(next)) {
            next.set_previous(previous);
        }
        match previous.and_then(|previous| self.slots(previous)) {
            Some(mut previous) => previous.set_next(next),
            None => {
                debug_assert_eq!(self.open, Some(frame));
                self.open = next;
            }
        }
    }

    fn slots(&self, frame: u32) -> Option<Slots<T>> {
        // SAFETY: every frame of the directory was formatted for `T` when it was added.
        self.directory
            .get(frame)
            .map(|pointer| unsafe { Slots::formatted(pointer) })
    }
}

impl<P: Platform, T> Index<Handle<T>> for Slab<P, T> {
    type Output = T;

    /// # Panics
    /// If there is no object of that name.
    fn index(&self, handle: Handle<T>) -> &T {
        self.get(handle)
            .expect("a handle names a live object of this slab")
    }
}

impl<P: Platform, T> IndexMut<Handle<T>> for Slab<P, T> {
    /// # Panics
    /// If there is no object of that name.
    fn index_mut(&mut self, handle: Handle<T>) -> &mut T {
        self.get_mut(handle)
            .expect("a handle names a live object of this slab")
    }
}

impl<P: Platform, T> Drop for Slab<P, T> {
    fn drop(&mut self) {
        self.directory.drain(|pointer| {
            // SAFETY: every frame of the directory was formatted for `T`; it is freed right after this.
            unsafe { Slots::<T>::formatted(pointer) }.drop_objects();
        });
    }
}

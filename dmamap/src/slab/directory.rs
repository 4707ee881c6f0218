//! From a frame's number to the frame: a root frame of directory frames of object frames.
//!
//! Both kinds of directory frame look alike: eight words in which bit n says that child n has no room for
//! another frame, then 504 words, each a child's physical address with bit 0 set, or 0.

use core::ptr::NonNull;

use super::SlabError;
use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use crate::platform::{FrameRequest, OutOfFrames, Platform};

const WORDS: usize = 512;
const BITMAP_WORDS: usize = 8;
const CHILDREN: usize = WORDS - BITMAP_WORDS;
/// A number is a child of the root in the higher bits, a child of that in these.
const CHILD_BITS: u32 = 9;
const PRESENT: u64 = 1;

pub(super) struct Directory<P> {
    platform: P,
    root: Option<PhysAddr>,
    frames: usize,
}

impl<P: Platform> Directory<P> {
    pub(super) const fn new(platform: P) -> Self {
        Self {
            platform,
            root: None,
            frames: 0,
        }
    }

    /// Frames held, of objects and of the directory.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// The frame numbered `number`.
    pub(super) fn get(&self, number: u32) -> Option<NonNull<u8>> {
        let (upper, lower) = split(number);
        let directory = self.child(self.root?, upper)?;
        Some(self.platform.frame_pointer(self.child(directory, lower)?))
    }

    /// Takes a frame from the platform and numbers it. On failure nothing has changed.
    pub(super) fn add(&mut self) -> Result<(u32, NonNull<u8>), SlabError> {
        let object = self.allocate()?;
        match self.place(object) {
            Ok(number) => Ok((number, self.platform.frame_pointer(object))),
            Err(error) => {
                // SAFETY: the frame was just allocated and is not placed.
                unsafe { self.free(object) };
                Err(error)
            }
        }
    }

    fn place(&mut self, object: PhysAddr) -> Result<u32, SlabError> {
        let (root, root_is_new) = match self.root {
            Some(root) => (root, false),
            None => (self.allocate_directory()?, true),
        };
        let upper = self
            .first_with_room(root)
            .ok_or(SlabError::Full(CHILDREN * CHILDREN))?;
        let directory = match self.child(root, upper) {
            Some(directory) => directory,
            None => match self.allocate_directory() {
                Ok(directory) => directory,
                Err(error) => {
                    if root_is_new {
                        // SAFETY: the new root is not yet linked anywhere.
                        unsafe { self.free(root) };
                    }
                    return Err(error.into());
                }
            },
        };
        self.root = Some(root);
        self.set_child(root, upper, Some(directory));
        let lower = self
            .first_with_room(directory)
            .expect("the root's bit says there is room");
        self.set_child(directory, lower, Some(object));
        self.set_full(directory, lower, Room::None);
        if self.first_with_room(directory).is_none() {
            self.set_full(root, upper, Room::None);
        }
        Ok((upper as u32) << CHILD_BITS | lower as u32)
    }

    /// Gives frame `number` back, and directory frames that it leaves empty.
    ///
    /// # Safety
    /// Nothing uses the frame any more.
    pub(super) unsafe fn remove(&mut self, number: u32) {
        let (upper, lower) = split(number);
        let Some(root) = self.root else { return };
        let Some(directory) = self.child(root, upper) else {
            return;
        };
        let Some(object) = self.child(directory, lower) else {
            return;
        };
        self.set_child(directory, lower, None);
        self.set_full(directory, lower, Room::Some);
        self.set_full(root, upper, Room::Some);
        // SAFETY: the caller is done with the frame, and it is no longer linked.
        unsafe { self.free(object) };
        if self.is_empty(directory) {
            self.set_child(root, upper, None);
            // SAFETY: an empty directory frame, no longer linked.
            unsafe { self.free(directory) };
        }
        if self.is_empty(root) {
            self.root = None;
            // SAFETY: an empty directory frame, no longer linked.
            unsafe { self.free(root) };
        }
    }

    /// Gives every frame back, object frames after `visit` saw them.
    pub(super) fn drain(&mut self, mut visit: impl FnMut(NonNull<u8>)) {
        let Some(root) = self.root.take() else { return };
        for directory in (0..CHILDREN).filter_map(|upper| self.child(root, upper)) {
            for object in (0..CHILDREN).filter_map(|lower| self.child(directory, lower)) {
                visit(self.platform.frame_pointer(object));
                // SAFETY: the directory is being taken apart: each frame is met once and not used again.
                unsafe { self.platform.free_frames(frame(object)) };
            }
            // SAFETY: as above.
            unsafe { self.platform.free_frames(frame(directory)) };
        }
        // SAFETY: as above.
        unsafe { self.platform.free_frames(frame(root)) };
        self.frames = 0;
    }

    fn allocate(&mut self) -> Result<PhysAddr, OutOfFrames> {
        let frame = self.platform.allocate_frames(FrameRequest::new(1))?;
        self.frames += 1;
        Ok(frame.start())
    }

    fn allocate_directory(&mut self) -> Result<PhysAddr, OutOfFrames> {
        let directory = self.allocate()?;
        (0..WORDS).for_each(|word| self.write(directory, word, 0));
        // The last bitmap word has bits beyond the last child: they never have room.
        for beyond in CHILDREN..BITMAP_WORDS * 64 {
            self.set_full(directory, beyond, Room::None);
        }
        Ok(directory)
    }

    /// # Safety
    /// Nothing uses the frame any more.
    unsafe fn free(&mut self, phys: PhysAddr) {
        self.frames -= 1;
        // SAFETY: the frame came from `allocate`, and the caller is done with it.
        unsafe { self.platform.free_frames(frame(phys)) };
    }

    fn first_with_room(&self, directory: PhysAddr) -> Option<usize> {
        (0..BITMAP_WORDS).find_map(|word| {
            let full = self.read(directory, word);
            (full != u64::MAX).then(|| word * 64 + full.trailing_ones() as usize)
        })
    }

    fn set_full(&mut self, directory: PhysAddr, child: usize, room: Room) {
        let (word, bit) = (child / 64, 1 << (child % 64));
        let full = self.read(directory, word);
        let full = match room {
            Room::None => full | bit,
            Room::Some => full & !bit,
        };
        self.write(directory, word, full);
    }

    fn is_empty(&self, directory: PhysAddr) -> bool {
        (0..CHILDREN).all(|child| self.child(directory, child).is_none())
    }

    fn child(&self, directory: PhysAddr, child: usize) -> Option<PhysAddr> {
        if child >= CHILDREN {
            return None;
        }
        let word = self.read(directory, BITMAP_WORDS + child);
        (word & PRESENT != 0).then(|| PhysAddr::new(word & !PRESENT))
    }

    fn set_child(&mut self, directory: PhysAddr, child: usize, phys: Option<PhysAddr>) {
        self.write(
            directory,
            BITMAP_WORDS + child,
            phys.map_or(0, |phys| phys.as_u64() | PRESENT),
        );
    }

    fn read(&self, directory: PhysAddr, word: usize) -> u64 {
        assert!(word < WORDS);
        // SAFETY: callers pass the root or a child of it, directory frames this struct holds, and the word
        // lies in the frame.
        unsafe {
            self.platform
                .frame_pointer(directory)
                .cast::<u64>()
                .add(word)
                .read()
        }
    }

    fn write(&mut self, directory: PhysAddr, word: usize, value: u64) {
        assert!(word < WORDS);
        // SAFETY: as for `read`; `&mut self` excludes other users.
        unsafe {
            self.platform
                .frame_pointer(directory)
                .cast::<u64>()
                .add(word)
                .write(value)
        };
    }
}

/// Whether a child of a directory frame can take another frame.
#[derive(Clone, Copy)]
enum Room {
    Some,
    None,
}

fn split(number: u32) -> (usize, usize) {
    (
        (number >> CHILD_BITS) as usize,
        (number & ((1 << CHILD_BITS) - 1)) as usize,
    )
}

fn frame(phys: PhysAddr) -> PhysRange {
    PhysRange::new(phys, FRAME_BYTES).expect("a frame lies within the address space")
}

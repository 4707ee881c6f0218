//! One frame of a slab: a header, then slots of one type.

use core::marker::PhantomData;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;

use crate::addr::FRAME_BYTES;

/// At the start of each frame. Frame numbers are kept plus one, so that 0 is none.
#[repr(C)]
struct Header {
    next: u32,
    previous: u32,
    first_free: u16,
    used: u16,
}

/// `link` of a slot that holds an object.
const OCCUPIED: u16 = u16::MAX;
/// `link` of the last free slot.
const END: u16 = u16::MAX - 1;

#[repr(C)]
struct Slot<T> {
    /// [`OCCUPIED`], or the next free slot.
    link: u16,
    value: MaybeUninit<T>,
}

/// A view of a formatted frame: holding one proves that the frame was formatted for `T` and is still held.
pub(super) struct Slots<T> {
    frame: NonNull<u8>,
    of: PhantomData<T>,
}

impl<T> Slots<T> {
    const FIRST: usize = size_of::<Header>().next_multiple_of(align_of::<Slot<T>>());

    /// Slots in a frame.
    pub(super) const COUNT: u16 = {
        let room = FRAME_BYTES as usize - Self::FIRST;
        assert!(
            size_of::<Slot<T>>() <= room,
            "an object of a slab fits in one frame"
        );
        (room / size_of::<Slot<T>>()) as u16
    };

    /// Bits that hold a slot's number.
    pub(super) const BITS: u32 = u16::BITS - (Self::COUNT - 1).leading_zeros();

    /// Cuts a frame into slots, all free.
    ///
    /// # Safety
    /// `frame` points at a frame that is ours to write.
    pub(super) unsafe fn format(frame: NonNull<u8>) -> Self {
        let slots = Self {
            frame,
            of: PhantomData,
        };
        let header = Header {
            next: 0,
            previous: 0,
            first_free: 0,
            used: 0,
        };
        // SAFETY: the header lies at the start of the frame, which is ours.
        unsafe { slots.header().write(header) };
        for slot in 0..Self::COUNT {
            let link = if slot + 1 < Self::COUNT {
                slot + 1
            } else {
                END
            };
            // SAFETY: `slot` is below COUNT, so its link lies in the frame.
            unsafe { (&raw mut (*slots.slot(slot)).link).write(link) };
        }
        slots
    }

    /// # Safety
    /// `frame` was [formatted](Self::format) for the same `T` and is still held; while the result is used no
    /// reference to one of its headers or links lives.
    pub(super) unsafe fn formatted(frame: NonNull<u8>) -> Self {
        Self {
            frame,
            of: PhantomData,
        }
    }

    fn header(&self) -> *mut Header {
        self.frame.as_ptr().cast()
    }

    fn slot(&self, slot: u16) -> *mut Slot<T> {
        debug_assert!(slot < Self::COUNT);
        // SAFETY: callers pass a slot below COUNT, so the sum stays in the frame.
        let first = unsafe { self.frame.as_ptr().add(Self::FIRST) };
        first.cast::<Slot<T>>().wrapping_add(usize::from(slot))
    }

    fn read_header(&self) -> Header {
        // SAFETY: the frame was formatted, so a header lies there.
        unsafe { self.header().read() }
    }

    fn update_header(&mut self, update: impl FnOnce(&mut Header)) {
        let mut header = self.read_header();
        update(&mut header);
        // SAFETY: as for reading; `&mut self` and the slab's own borrow exclude other users.
        unsafe { self.header().write(header) };
    }

    pub(super) fn is_full(&self) -> bool {
        self.read_header().used == Self::COUNT
    }

    pub(super) fn is_unused(&self) -> bool {
        self.read_header().used == 0
    }

    /// The next frame in the list of frames with a free slot.
    pub(super) fn next(&self) -> Option<u32> {
        self.read_header().next.checked_sub(1)
    }

    pub(super) fn previous(&self) -> Option<u32> {
        self.read_header().previous.checked_sub(1)
    }

    pub(super) fn set_next(&mut self, frame: Option<u32>) {
        self.update_header(|header| header.next = frame.map_or(0, |frame| frame + 1));
    }

    pub(super) fn set_previous(&mut self, frame: Option<u32>) {
        self.update_header(|header| header.previous = frame.map_or(0, |frame| frame + 1));
    }

    /// Fills the first free slot of a frame that is not full.
    pub(super) fn insert(&mut self, value: T) -> u16 {
        let slot = self.read_header().first_free;
        assert!(
            slot < Self::COUNT,
            "a full frame is not in the list of open frames"
        );
        // SAFETY: the slot lies in the frame and is free, so it holds a link and no object.
        let next = unsafe {
            let place = self.slot(slot);
            let next = (&raw const (*place).link).read();
            place.write(Slot {
                link: OCCUPIED,
                value: MaybeUninit::new(value),
            });
            next
        };
        self.update_header(|header| {
            header.first_free = next;
            header.used += 1;
        });
        slot
    }

    /// Empties a slot; `None` when it holds nothing.
    pub(super) fn remove(&mut self, slot: u16) -> Option<T> {
        let place = self.get(slot)?;
        // SAFETY: the slot is occupied, so it holds an object, which is moved out once because the
        // slot becomes free.
        let value = unsafe { place.read() };
        let first_free = self.read_header().first_free;
        // SAFETY: `get` checked that the slot lies in the frame.
        unsafe { (&raw mut (*self.slot(slot)).link).write(first_free) };
        self.update_header(|header| {
            header.first_free = slot;
            header.used -= 1;
        });
        Some(value)
    }

    /// The object in a slot; `None` when it holds nothing.
    pub(super) fn get(&self, slot: u16) -> Option<NonNull<T>> {
        if slot >= Self::COUNT {
            return None;
        }
        let place = self.slot(slot);
        // SAFETY: the slot lies in the frame, which was formatted, so a link lies there.
        let link = unsafe { (&raw const (*place).link).read() };
        if link != OCCUPIED {
            return None;
        }
        // SAFETY: as before; only an address is computed.
        NonNull::new(unsafe { (&raw mut (*place).value).cast() })
    }

    /// Drops every object; the frame must be formatted anew before it is used again.
    pub(super) fn drop_objects(self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        for object in (0..Self::COUNT).filter_map(|slot| self.get(slot)) {
            // SAFETY: the slot is occupied, and nobody looks at the frame again.
            unsafe { object.drop_in_place() };
        }
    }
}

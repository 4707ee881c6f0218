//! Loads, stores and copies by physical address.
//!
//! This is the bus side of memory: everything goes through raw pointers into the hardware's own mapping,
//! never a reference but to atomics, because the kernel and other devices change the same bytes at any moment. Every access
//! is atomic, the pieces of a long copy too: two models that copy at once do not race.
//!
//! Who has a [`Ram`] is hardware: it changes memory behind a kernel's back, as a device does that nothing confines. Models and
//! those who run experiments with them have it. No driver does: a kernel keeps it to itself.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use super::{OutsideRam, Ram};

/// Up to this many bytes a copy of aligned words keeps its order: a cache line.
const ORDERED_BYTES: usize = 64;

macro_rules! word_access {
    ($word:ty, $atomic:ty, $load:ident, $store:ident) => {
        /// Loads one little-endian word; what was stored before it by its writer is visible after it.
        ///
        /// # Errors
        /// [`OutsideRam`] if there is no memory, or the address is not a multiple of the word's size.
        pub fn $load(&self, phys: u64) -> Result<$word, OutsideRam> {
            Ok(<$word>::from_le(
                self.word::<$atomic>(phys)?.load(Ordering::Acquire),
            ))
        }

        /// Stores one little-endian word, after all stores before it.
        ///
        /// # Errors
        /// [`OutsideRam`] if there is no memory, or the address is not a multiple of the word's size.
        pub fn $store(&self, phys: u64, value: $word) -> Result<(), OutsideRam> {
            self.word::<$atomic>(phys)?
                .store(value.to_le(), Ordering::Release);
            Ok(())
        }
    };
}

impl Ram {
    word_access!(u8, AtomicU8, load_u8, store_u8);
    word_access!(u16, AtomicU16, load_u16, store_u16);
    word_access!(u32, AtomicU32, load_u32, store_u32);
    word_access!(u64, AtomicU64, load_u64, store_u64);

    /// Replaces the word by `new` if it is `current`; returns what was there, as `Ok` if it was replaced.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory, or the address is not a multiple of 8.
    pub fn compare_exchange_u64(
        &self,
        phys: u64,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, OutsideRam> {
        Ok(self
            .word::<AtomicU64>(phys)?
            .compare_exchange(
                current.to_le(),
                new.to_le(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .map(u64::from_le)
            .map_err(u64::from_le))
    }

    /// Copies memory from `phys` on into `into`.
    ///
    /// # Errors
    /// [`OutsideRam`] if a byte is not memory; then nothing was copied.
    pub fn read(&self, phys: u64, into: &mut [u8]) -> Result<(), OutsideRam> {
        let pointer = self.bytes(phys, into.len())?;
        if is_ordered(phys, into.len(), 8) {
            for (word, phys) in into.chunks_exact_mut(8).zip((phys..).step_by(8)) {
                word.copy_from_slice(&self.load_u64(phys)?.to_le_bytes());
            }
        } else if is_ordered(phys, into.len(), 4) {
            for (word, phys) in into.chunks_exact_mut(4).zip((phys..).step_by(4)) {
                word.copy_from_slice(&self.load_u32(phys)?.to_le_bytes());
            }
        } else {
            let (head, words, _) = pieces(pointer, into.len());
            let (first, rest) = into.split_at_mut(head);
            let (middle, last) = rest.split_at_mut(words * 8);
            // SAFETY: `bytes` vouches for all bytes at `pointer`, in a mapping that no reference but those to atomics
            // covers, and `pieces` divides them. Others may change them meanwhile: then any mix of old and new is a right
            // answer of a bus.
            unsafe {
                for (at, byte) in first.iter_mut().enumerate() {
                    *byte = atomic::<AtomicU8>(pointer, at).load(Ordering::Relaxed);
                }
                for (at, word) in middle.chunks_exact_mut(8).enumerate() {
                    let value = atomic::<AtomicU64>(pointer, head + 8 * at).load(Ordering::Relaxed);
                    word.copy_from_slice(&value.to_ne_bytes());
                }
                for (at, byte) in last.iter_mut().enumerate() {
                    let at = head + 8 * words + at;
                    *byte = atomic::<AtomicU8>(pointer, at).load(Ordering::Relaxed);
                }
            }
            fence(Ordering::Acquire);
        }
        Ok(())
    }

    /// Copies `from` into memory from `phys` on.
    ///
    /// # Errors
    /// [`OutsideRam`] if a byte is not memory; then nothing was copied.
    pub fn write(&self, phys: u64, from: &[u8]) -> Result<(), OutsideRam> {
        let pointer = self.bytes(phys, from.len())?;
        if is_ordered(phys, from.len(), 8) {
            for (word, phys) in from.chunks_exact(8).zip((phys..).step_by(8)) {
                self.store_u64(
                    phys,
                    u64::from_le_bytes(word.try_into().unwrap_or_default()),
                )?;
            }
        } else if is_ordered(phys, from.len(), 4) {
            for (word, phys) in from.chunks_exact(4).zip((phys..).step_by(4)) {
                self.store_u32(
                    phys,
                    u32::from_le_bytes(word.try_into().unwrap_or_default()),
                )?;
            }
        } else {
            fence(Ordering::Release);
            self.store_all(pointer, from.len(), |at, len| match len {
                1 => u64::from(from[at]),
                _ => u64::from_ne_bytes(from[at..at + 8].try_into().unwrap_or_default()),
            });
        }
        Ok(())
    }

    /// Sets `len_bytes` bytes from `phys` on to `value`.
    ///
    /// # Errors
    /// [`OutsideRam`] if a byte is not memory; then nothing was stored.
    pub fn fill(&self, phys: u64, len_bytes: usize, value: u8) -> Result<(), OutsideRam> {
        let pointer = self.bytes(phys, len_bytes)?;
        let word = u64::from_ne_bytes([value; 8]);
        self.store_all(pointer, len_bytes, |_, _| word);
        fence(Ordering::Release);
        Ok(())
    }

    /// Stores `len` bytes from `pointer` on, in atomic pieces of 8 bytes or 1: `value` has that for each, by its offset and
    /// length, in its low byte where it is 1.
    fn store_all(&self, pointer: NonNull<u8>, len: usize, value: impl Fn(usize, usize) -> u64) {
        let (head, words, tail) = pieces(pointer, len);
        let ends = head + 8 * words;
        // SAFETY: as in `read`.
        unsafe {
            for at in (0..head).chain(ends..ends + tail) {
                atomic::<AtomicU8>(pointer, at).store(value(at, 1) as u8, Ordering::Relaxed);
            }
            for at in (head..ends).step_by(8) {
                atomic::<AtomicU64>(pointer, at).store(value(at, 8), Ordering::Relaxed);
            }
        }
    }

    /// The words from `phys` on, a multiple of 8, as hardware loads and stores them: in the host's byte order.
    ///
    /// # Errors
    /// [`OutsideRam`] if there is no memory for `count` words, or `phys` is no multiple of 8.
    pub fn words(&self, phys: u64, count: usize) -> Result<&[AtomicU64], OutsideRam> {
        self.word::<AtomicU64>(phys)?;
        let pointer = self.bytes(phys, count.saturating_mul(8))?;
        // SAFETY: aligned as `word` found; `bytes` vouches for all of them, in a mapping that lives as long as `self`.
        // As for `word` beyond that.
        Ok(unsafe { std::slice::from_raw_parts(pointer.cast().as_ptr(), count) })
    }

    /// The hardware's pointer to `len` bytes of memory at `phys`.
    pub(super) fn bytes(&self, phys: u64, len: usize) -> Result<NonNull<u8>, OutsideRam> {
        let outside = OutsideRam {
            phys,
            len_bytes: len as u64,
        };
        self.check(phys, len as u64)?;
        self.view.pointer(phys).ok_or(outside)
    }

    fn word<A>(&self, phys: u64) -> Result<&A, OutsideRam> {
        let len = size_of::<A>();
        let pointer = self.bytes(phys, len)?;
        if !phys.is_multiple_of(len as u64) {
            return Err(OutsideRam {
                phys,
                len_bytes: len as u64,
            });
        }
        // SAFETY: `A` is one of the atomic integers above, valid for any bits; the address is inside the
        // mapping, which lives as long as `self`, and aligned as the mapping starts at a page. Conflicting accesses of the
        // kernel go through other mappings and stand for bus traffic, see the module's head.
        Ok(unsafe { pointer.cast::<A>().as_ref() })
    }
}

/// How `len` bytes from `pointer` on are made of bytes, aligned words of 8, and bytes.
fn pieces(pointer: NonNull<u8>, len: usize) -> (usize, usize, usize) {
    let head = (pointer.addr().get().wrapping_neg() % 8).min(len);
    let words = (len - head) / 8;
    (head, words, len - head - 8 * words)
}

/// The atomic integer `at` bytes from `pointer` on.
///
/// # Safety
/// It lies inside the hardware's mapping, which outlives `'a`, and is aligned.
unsafe fn atomic<'a, A>(pointer: NonNull<u8>, at: usize) -> &'a A {
    // SAFETY: the caller's promise; any bits are a value of an atomic integer.
    unsafe { pointer.add(at).cast::<A>().as_ref() }
}

fn is_ordered(phys: u64, len: usize, word: usize) -> bool {
    len <= ORDERED_BYTES && len.is_multiple_of(word) && phys.is_multiple_of(word as u64)
}

//! The CPU's access to memory that a device may be writing: whole volatile copies, never a reference.

use core::ptr::NonNull;

/// Copies `into.len()` bytes out of device-visible memory.
///
/// # Safety
/// The bytes from `from` on are mapped for the CPU, and only accessed by volatile or atomic means while a
/// device may reach them.
pub(crate) unsafe fn copy_out(from: NonNull<u8>, into: &mut [u8]) {
    let aligned = from.cast::<u64>();
    if aligned.is_aligned() {
        let (words, tail) = into.as_chunks_mut::<8>();
        let done = words.len() * 8;
        for (n, word) in words.iter_mut().enumerate() {
            // SAFETY: `n * 8 + 8` is within the length the caller vouches for, and the pointer is aligned.
            *word = unsafe { aligned.add(n).read_volatile() }.to_ne_bytes();
        }
        for (n, byte) in tail.iter_mut().enumerate() {
            // SAFETY: `done + n` is below the length.
            *byte = unsafe { from.add(done + n).read_volatile() };
        }
    } else {
        for (n, byte) in into.iter_mut().enumerate() {
            // SAFETY: `n` is below the length.
            *byte = unsafe { from.add(n).read_volatile() };
        }
    }
}

/// Copies `bytes` into device-visible memory.
///
/// # Safety
/// As for [`copy_out`], for writing.
pub(crate) unsafe fn copy_in(bytes: &[u8], to: NonNull<u8>) {
    let aligned = to.cast::<u64>();
    if aligned.is_aligned() {
        let (words, tail) = bytes.as_chunks::<8>();
        let done = words.len() * 8;
        for (n, word) in words.iter().enumerate() {
            // SAFETY: as in `copy_out`.
            unsafe { aligned.add(n).write_volatile(u64::from_ne_bytes(*word)) };
        }
        for (n, byte) in tail.iter().enumerate() {
            // SAFETY: as in `copy_out`.
            unsafe { to.add(done + n).write_volatile(*byte) };
        }
    } else {
        for (n, byte) in bytes.iter().enumerate() {
            // SAFETY: as in `copy_out`.
            unsafe { to.add(n).write_volatile(*byte) };
        }
    }
}

/// Copies memory to memory, either of which a device may be reading or writing.
///
/// # Safety
/// `len` bytes are mapped for the CPU from `from` on for reading and from `to` on for writing, and only accessed by
/// volatile or atomic means while a device may reach them. The two do not overlap.
pub(crate) unsafe fn copy_across(from: NonNull<u8>, to: NonNull<u8>, len: usize) {
    let (source, target) = (from.addr().get(), to.addr().get());
    // Bytes up to the first word of both, where they come to words together.
    let head = match (source ^ target) % WORD {
        0 => (source.wrapping_neg() % WORD).min(len),
        _ => len,
    };
    let words = (len - head) / WORD;
    let whole = head + words * WORD;
    for n in (0..head).chain(whole..len) {
        // SAFETY: `n` is below the length.
        unsafe { to.add(n).write_volatile(from.add(n).read_volatile()) };
    }
    for n in 0..words {
        let at = head + n * WORD;
        // SAFETY: `at + 8` is at most the length, and both pointers are aligned there.
        unsafe {
            let word = from.add(at).cast::<u64>().read_volatile();
            to.add(at).cast::<u64>().write_volatile(word);
        }
    }
}

/// Zeroes memory that a device may be reading or writing.
///
/// # Safety
/// As for [`copy_across`], for writing.
pub(crate) unsafe fn zero(to: NonNull<u8>, len: usize) {
    let head = (to.addr().get().wrapping_neg() % WORD).min(len);
    let words = (len - head) / WORD;
    let whole = head + words * WORD;
    for n in (0..head).chain(whole..len) {
        // SAFETY: `n` is below the length.
        unsafe { to.add(n).write_volatile(0) };
    }
    for n in 0..words {
        // SAFETY: `head + 8 * n + 8` is at most the length, and the pointer is aligned there.
        unsafe { to.add(head + n * WORD).cast::<u64>().write_volatile(0) };
    }
}

/// Bytes of the word that is copied at once.
const WORD: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    /// Between lengths: an interpreter takes a minute for all.
    const STEP: usize = if cfg!(miri) { 7 } else { 1 };

    #[test]
    fn every_pair_of_alignments_is_copied_whole_and_zeroed() {
        for (from, to) in (0..9).flat_map(|from| (0..9).map(move |to| (from, to))) {
            for len in (0..40).step_by(STEP) {
                let mut source: [u8; 64] = core::array::from_fn(|n| n as u8 + 1);
                let mut memory = [0xee_u8; 64];
                let start = NonNull::from(&mut memory).cast::<u8>();
                // SAFETY: at most 9 + 40 of the arrays' 64 bytes are touched.
                unsafe {
                    let source = NonNull::from(&mut source).cast::<u8>();
                    copy_across(source.add(from), start.add(to), len);
                }
                assert_eq!(memory[to..to + len], source[from..from + len]);
                assert!(memory[..to].iter().all(|&byte| byte == 0xee));
                assert!(memory[to + len..].iter().all(|&byte| byte == 0xee));
                let start = NonNull::from(&mut memory).cast::<u8>();
                // SAFETY: as above.
                unsafe { zero(start.add(to), len) };
                assert!(memory[..to].iter().all(|&byte| byte == 0xee));
                assert!(memory[to..to + len].iter().all(|&byte| byte == 0));
                assert!(memory[to + len..].iter().all(|&byte| byte == 0xee));
            }
        }
    }

    #[test]
    fn every_alignment_and_length_is_copied_whole() {
        for offset in 0..9 {
            for len in (0..40).step_by(STEP) {
                let source: [u8; 64] = core::array::from_fn(|n| n as u8);
                let mut memory = [0xee_u8; 64];
                let start = NonNull::from(&mut memory).cast::<u8>();
                let mut back = [0; 40];
                // SAFETY: at most 9 + 40 of the array's 64 bytes are touched, through one pointer.
                unsafe {
                    copy_in(&source[..len], start.add(offset));
                    copy_out(start.add(offset), &mut back[..len]);
                }
                assert_eq!(back[..len], source[..len]);
                assert!(memory[..offset].iter().all(|&byte| byte == 0xee));
                assert!(memory[offset + len..].iter().all(|&byte| byte == 0xee));
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Between lengths: an interpreter takes a minute for all.
    const STEP: usize = if cfg!(miri) { 7 } else { 1 };

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

//! The copy between a driver's memory and memory that a device may be reading or writing: as fast as memory is copied.
//!
//! A copy of words that are each volatile takes a third longer than the machine needs where memory is far away and three times as long
//! where it is near (`docs/performance.md`), so this is the platform's `memcpy`. What makes a volatile access different is that the
//! compiler neither repeats it, nor leaves it out, nor moves it over another. None of that matters to bytes that are carried from
//! one place to another and of which nothing is known on the way; it matters before and after. So each copy lies between two
//! [`handovers`](hand_over), assembly without an instruction that is an access to all memory its pointer leads to, as far as the compiler knows:
//!
//! - What a device wrote until then is read, and not what was known of the memory earlier.
//! - What is at the target afterwards is what the assembly left there: bytes, each of which is some value. The compiler
//!   cannot take a later look at the target for another look at the source, at which the device may have put something else meanwhile:
//!   whoever checks what was copied and then uses it checks what he uses.
//! - A device that writes while it is copied makes the copy a mixture of old and new, as it does with volatile copies of words. It is
//!   no thread of the program, and whoever runs models of devices in the program gives them the memory at addresses of their own.

#[cfg(all(
    not(miri),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

/// Copies memory to memory, either of which a device may be reading or writing.
///
/// # Safety
/// `len` bytes are mapped for the CPU from `from` on for reading and from `to` on for writing, no reference to those at `to`
/// nor one that writes those at `from` is in use, and the two do not overlap.
#[inline]
pub(crate) unsafe fn copy_across(from: NonNull<u8>, to: NonNull<u8>, len: usize) {
    hand_over(from);
    // SAFETY: the caller vouches for both, as memory that only a device accesses meanwhile. Bytes have no value that is none, and
    // nothing follows from those that are copied before `hand_over` made them what they are.
    unsafe { from.copy_to_nonoverlapping(to, len) };
    hand_over(to);
}

/// Zeroes memory that a device may be reading or writing.
///
/// # Safety
/// As for [`copy_across`], for writing.
#[inline]
pub(crate) unsafe fn zero(to: NonNull<u8>, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller vouches for the memory. What a device writes there meanwhile stands beside the zeros.
    unsafe { to.write_bytes(0, len) };
    hand_over(to);
}

/// From here on the memory `memory` leads to is what somebody else made of it, and has been seen by others as it was.
#[inline]
fn hand_over(memory: NonNull<u8>) {
    #[cfg(all(
        not(miri),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    ))]
    // SAFETY: there is no instruction in it.
    unsafe {
        asm!("/* {0} */", in(reg) memory.as_ptr(), options(nostack, preserves_flags));
    }
    let _ = memory;
    compiler_fence(Ordering::SeqCst);
}

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

    /// What a volatile read sees is there: were a copy left out as nobody in the program looked at it, a device would
    /// find what was there before.
    #[test]
    fn what_nobody_in_the_program_reads_is_copied_all_the_same() {
        let mut source = [0x5a_u8; 256];
        let mut memory = [0_u8; 256];
        let (from, to) = (NonNull::from(&mut source), NonNull::from(&mut memory));
        let (from, to) = (from.cast::<u8>(), to.cast::<u8>());
        // SAFETY: both arrays have 256 bytes.
        unsafe {
            copy_across(from, to, 256);
            assert_eq!(to.add(255).read_volatile(), 0x5a);
            zero(to, 256);
            assert_eq!(to.add(255).read_volatile(), 0);
        }
    }
}

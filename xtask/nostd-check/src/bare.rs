//! The least a program needs: an entry, a heap, and what to do about a panic.

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;
use core::ptr;

use {dmamap as _, drivers as _, firmware as _, hw as _, journeys as _};

// Its panic handler is a second one.
#[cfg(feature = "std")]
extern crate std;

/// A heap with nothing in it: this program is linked, not run.
struct NoMemory;

// SAFETY: it never returns memory, which any heap may do.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// What a host's C runtime needs on top: an entry, and a name that the host's core library mentions, as it was
/// built to unwind. A bare machine's was not.
#[cfg(not(target_os = "none"))]
mod host {
    // Nothing of it but its start-up code.
    #[link(name = "c")]
    unsafe extern "C" {}

    // SAFETY: nothing else in this program is called `main`.
    #[unsafe(no_mangle)]
    extern "C" fn main() -> i32 {
        0
    }

    // SAFETY: nothing else in this program is called so, and nothing calls it: panics do not unwind.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}
}

/// Where a bare machine enters.
// SAFETY: nothing else in this program is called `_start`.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

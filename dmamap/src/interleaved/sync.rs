//! Atomics whose every order loom makes.
//!
//! loom takes accesses that are `SeqCst` for `AcqRel`, and would have a CPU read past its own write: what Dekker forbids. Its
//! fences it takes for what they are. So between such a write of a CPU and the next such read it does, there is a fence here. One
//! of the two that is weaker has none.

use core::cell::Cell;

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

loom::thread_local! {
    /// Whether this thread wrote `SeqCst`, and has not read so since.
    static HAS_WRITTEN: Cell<bool> = Cell::new(false);
}

fn wrote(order: Ordering) {
    if order == Ordering::SeqCst {
        HAS_WRITTEN.with(|it| it.set(true));
    }
}

/// One of loom's atomics, with the fence.
macro_rules! ordered {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                if order == Ordering::SeqCst && HAS_WRITTEN.with(|it| it.replace(false)) {
                    atomic::fence(Ordering::SeqCst);
                }
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
                wrote(order);
            }
        }
    };
}

ordered!(AtomicBool, bool);
ordered!(AtomicU8, u8);

impl AtomicU8 {
    pub(crate) fn swap(&self, value: u8, order: Ordering) -> u8 {
        let old = self.0.swap(value, order);
        wrote(order);
        old
    }
}

loom::lazy_static! {
    /// Where the two halves of an asymmetric fence meet. loom's own fences would meet any other of its fences too.
    static ref MEETING: AtomicUsize = AtomicUsize::new(0);
}

/// The half that costs a CPU nothing: against [`fence_cpus`], and it alone, it is a fence of the CPU.
pub(crate) fn compiler_fence(order: Ordering) {
    if order == Ordering::SeqCst {
        MEETING.fetch_add(0, Ordering::AcqRel);
    }
}

/// The other half: whichever comes first, what was done before it is known after the other.
pub(crate) fn fence_cpus() {
    MEETING.fetch_add(0, Ordering::AcqRel);
}

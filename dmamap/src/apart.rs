//! What CPUs write often, kept off the cache lines of what stands beside it.

use core::ops::Deref;

/// On cache lines of its own, two of them at least, as neighbours are prefetched in pairs: who reads or writes what stands beside it is
/// not to miss it whenever another CPU has written this. Where on the heap something lies decides nothing then.
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

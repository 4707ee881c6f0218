//! A platform that shows its barriers, so that a test can look at memory, or play the device, at that very moment.

use std::ptr::NonNull;

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError,
};
use parking_lot::Mutex;

use crate::forward::forward;

/// One of a platform's barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// `dma_wmb`.
    Write,
    /// `dma_rmb`.
    Read,
    /// `dma_mb`.
    Full,
}

type Observer = Box<dyn FnMut(Barrier) + Send>;

/// Wraps a platform and calls a function at each barrier, before the barrier itself.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use dmamap::platform::Platform;
/// use hosted::{Barrier, BarrierObserver, Hosted};
/// # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
/// # let kernel = Hosted::boot(machine.clone())?;
///
/// let platform = BarrierObserver::new(kernel);
/// let seen = Arc::new(AtomicU32::new(0));
/// let counter = seen.clone();
/// platform.observe(move |barrier| {
///     assert_eq!(barrier, Barrier::Write);
///     counter.fetch_add(1, Ordering::Relaxed);
/// });
/// platform.dma_wmb();
/// platform.ignore();
/// platform.dma_rmb();
/// assert_eq!(seen.load(Ordering::Relaxed), 1);
/// # machine.shutdown();
/// # assert!(kernel.shutdown().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct BarrierObserver<P> {
    inner: P,
    /// Leaked with each observer: a platform is `Copy` and lives for ever.
    observer: &'static Mutex<Option<Observer>>,
}

impl<P: Platform> BarrierObserver<P> {
    /// Wraps `inner`; nobody is shown its barriers yet.
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            observer: Box::leak(Box::default()),
        }
    }

    /// Calls `observer` at each barrier from now on, one at a time. It must not ask the platform for a barrier.
    pub fn observe(&self, observer: impl FnMut(Barrier) + Send + 'static) {
        *self.observer.lock() = Some(Box::new(observer));
    }

    /// Calls nobody any more.
    pub fn ignore(&self) {
        *self.observer.lock() = None;
    }

    fn show(&self, barrier: Barrier) {
        if let Some(observer) = &mut *self.observer.lock() {
            observer(barrier);
        }
    }
}

// SAFETY: every call goes to the platform inside, which keeps the promises.
unsafe impl<P: Platform> Platform for BarrierObserver<P> {
    type Lock = P::Lock;

    fn dma_wmb(&self) {
        self.show(Barrier::Write);
        self.inner.dma_wmb();
    }

    fn dma_rmb(&self) {
        self.show(Barrier::Read);
        self.inner.dma_rmb();
    }

    fn dma_mb(&self) {
        self.show(Barrier::Full);
        self.inner.dma_mb();
    }

    forward! {
        memory_map allocate_frames free_frames frame_pointer map_scattered unmap_scattered map_frames unmap_frames
        virt_to_phys ioremap iounmap cache_maintenance cpus_and_time allocate_interrupt free_interrupt interrupt_arrivals
    }
}

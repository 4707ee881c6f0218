//! A platform that leaves cache maintenance out on purpose, so that a test can see that it shows.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError,
};
use parking_lot::Mutex;

use crate::forward::forward;

/// A kind of cache maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// [`Platform::clean_cache`].
    Clean,
    /// [`Platform::invalidate_cache`].
    Invalidate,
}

/// Which calls are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forget {
    /// None.
    #[default]
    Nothing,
    /// The nth of this kind since it was told (1 is the next).
    Nth(Maintenance, u64),
    /// All of this kind.
    All(Maintenance),
}

/// Wraps a platform and leaves out cache maintenance of one's choice.
///
/// ```
/// use dmamap::platform::{FrameRequest, Platform};
/// use hosted::{Forget, Forgetful, Hosted, Maintenance};
/// use machine::cache::Snooping;
/// # use machine::{Machine, MachineConfig};
/// # let machine = Machine::boot(MachineConfig::default().with_devices(Snooping::Off))?;
/// # let kernel = Hosted::boot(machine.clone())?;
///
/// let platform = Forgetful::new(kernel);
/// let frames = platform.allocate_frames(FrameRequest::new(1))?;
/// let start = platform.frame_pointer(frames.start());
/// let before = machine.caches().ok_or("no caches")?.cleaned_lines;
/// platform.forget(Forget::Nth(Maintenance::Clean, 2));
/// platform.clean_cache(start, 64);
/// platform.clean_cache(start, 64);
/// platform.clean_cache(start, 64);
/// assert_eq!((platform.calls(Maintenance::Clean), platform.forgotten()), (3, 1));
/// assert_eq!(machine.caches().ok_or("no caches")?.cleaned_lines - before, 2);
/// # // SAFETY: nothing refers to these frames.
/// # unsafe { platform.free_frames(frames) };
/// # machine.shutdown();
/// # assert!(kernel.shutdown().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Forgetful<P> {
    inner: P,
    plan: &'static Plan,
}

/// Leaked with each wrapper: a platform is `Copy` and lives for ever.
#[derive(Default)]
struct Plan {
    forget: Mutex<(Forget, u64)>,
    cleans: AtomicU64,
    invalidations: AtomicU64,
    forgotten: AtomicU64,
    watcher: Mutex<Option<Watcher>>,
}

/// Sees each call before it is made or left out.
type Watcher = Box<dyn FnMut(Maintenance, VirtAddr, usize) + Send>;

impl<P: Platform> Forgetful<P> {
    /// Wraps `inner`; nothing is forgotten yet.
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            plan: Box::leak(Box::default()),
        }
    }

    /// The platform inside.
    pub fn inner(&self) -> P {
        self.inner
    }

    /// What is left out from now on.
    pub fn forget(&self, what: Forget) {
        *self.plan.forget.lock() = (what, 0);
    }

    /// Has `watcher` called before each call is made or left out, with its address and length, instead of the last one.
    pub fn watch(&self, watcher: impl FnMut(Maintenance, VirtAddr, usize) + Send + 'static) {
        *self.plan.watcher.lock() = Some(Box::new(watcher));
    }

    /// How many calls of a kind there were, those that were left out included.
    pub fn calls(&self, kind: Maintenance) -> u64 {
        self.counter(kind).load(Ordering::Relaxed)
    }

    /// How many calls were left out.
    pub fn forgotten(&self) -> u64 {
        self.plan.forgotten.load(Ordering::Relaxed)
    }

    fn counter(&self, kind: Maintenance) -> &AtomicU64 {
        match kind {
            Maintenance::Clean => &self.plan.cleans,
            Maintenance::Invalidate => &self.plan.invalidations,
        }
    }

    /// Whether this call is made.
    fn remembers(&self, kind: Maintenance, start: NonNull<u8>, len_bytes: usize) -> bool {
        if let Some(watcher) = &mut *self.plan.watcher.lock() {
            watcher(kind, VirtAddr::from_ptr(start.as_ptr()), len_bytes);
        }
        self.counter(kind).fetch_add(1, Ordering::Relaxed);
        let mut forget = self.plan.forget.lock();
        let forgotten = match forget.0 {
            Forget::Nth(which, nth) if which == kind => {
                forget.1 += 1;
                forget.1 == nth
            }
            Forget::All(which) => which == kind,
            Forget::Nth(..) | Forget::Nothing => false,
        };
        if forgotten {
            self.plan.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        !forgotten
    }
}

// SAFETY: every call goes to the platform inside, which keeps the promises, but for those that a test wants left out:
// they are promises not kept, whose consequences are what the test is for. It looks at bytes only.
unsafe impl<P: Platform> Platform for Forgetful<P> {
    type Lock = P::Lock;

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        if self.remembers(Maintenance::Clean, start, len_bytes) {
            self.inner.clean_cache(start, len_bytes);
        }
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        if self.remembers(Maintenance::Invalidate, start, len_bytes) {
            self.inner.invalidate_cache(start, len_bytes);
        }
    }

    forward! {
        memory_map allocate_frames free_frames frame_pointer map_scattered unmap_scattered map_frames unmap_frames
        virt_to_phys ioremap iounmap barriers cpus_and_time allocate_interrupt free_interrupt interrupt_arrivals
    }
}

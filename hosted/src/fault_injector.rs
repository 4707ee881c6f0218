//! A platform that refuses on purpose, so that every failure path can be walked.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError,
};
use parking_lot::Mutex;

use crate::forward::forward;

/// What a platform lends and may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// [`Platform::allocate_frames`].
    Frames,
    /// [`Platform::map_scattered`].
    ScatteredMapping,
    /// [`Platform::map_frames`].
    FrameMapping,
    /// [`Platform::ioremap`].
    RegisterWindow,
    /// [`Platform::allocate_interrupt`].
    Interrupt,
}

/// Wraps a platform and lets requests of one's choice fail.
///
/// ```
/// use dmamap::platform::{FrameRequest, Platform};
/// use hosted::{FaultInjector, Hosted, Resource};
/// # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
/// # let kernel = Hosted::boot(machine.clone())?;
///
/// let platform = FaultInjector::new(kernel);
/// platform.fail_nth(2);
/// let frames = platform.allocate_frames(FrameRequest::new(1))?;
/// assert!(platform.allocate_frames(FrameRequest::new(1)).is_err());
/// assert_eq!(platform.last_injected(), Some(Resource::Frames));
/// # // SAFETY: nothing refers to these frames.
/// # unsafe { platform.free_frames(frames) };
/// # machine.shutdown();
/// # assert!(kernel.shutdown().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct FaultInjector<P> {
    inner: P,
    plan: &'static Plan,
}

/// Leaked with each injector: a platform is `Copy` and lives for ever.
#[derive(Default)]
struct Plan {
    orders: Mutex<Orders>,
    injected: AtomicU64,
}

#[derive(Default)]
struct Orders {
    /// Requests still granted before one fails; `None`: all are.
    granted: Option<u64>,
    /// Only requests for this count and fail; `None`: all do.
    only: Option<Resource>,
    persistence: Persistence,
    last: Option<Resource>,
}

/// Whether what failed once would be granted afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// One request fails: whoever has another way takes it.
    #[default]
    Once,
    /// All that follow fail too, as if everything were used up: no other way is left that needs anything.
    ForEver,
}

impl<P: Platform> FaultInjector<P> {
    /// Wraps `inner`; nothing fails yet.
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

    /// Lets the `nth` request from now on fail (1 is the next), whatever it asks for, and no other.
    pub fn fail_nth(&self, nth: u64) {
        self.order(nth, None, Persistence::Once);
    }

    /// Lets the `nth` request for `resource` from now on fail, and no other.
    pub fn fail_nth_of(&self, resource: Resource, nth: u64) {
        self.order(nth, Some(resource), Persistence::Once);
    }

    /// Lets the `nth` request for `resource` from now on fail and all that follow, as if it were used up.
    pub fn exhaust_from(&self, resource: Resource, nth: u64) {
        self.order(nth, Some(resource), Persistence::ForEver);
    }

    /// Lets nothing fail from now on.
    pub fn relent(&self) {
        self.plan.orders.lock().granted = None;
    }

    /// How many requests failed on purpose so far.
    pub fn injected(&self) -> u64 {
        self.plan.injected.load(Ordering::Relaxed)
    }

    /// What the last request that failed on purpose asked for.
    pub fn last_injected(&self) -> Option<Resource> {
        self.plan.orders.lock().last
    }

    /// Runs `scenario` once for each request it makes, with that one failing, and once more without a
    /// failure; returns how many failed. The scenario gets the number of the request that will fail, and
    /// must end and give everything back in any case.
    pub fn fail_each_in_turn(&self, scenario: impl FnMut(u64)) -> u64 {
        self.sweep(Persistence::Once, scenario)
    }

    /// As [`fail_each_in_turn`](Self::fail_each_in_turn), but with each request all that follow fail too, until `scenario`
    /// ends or [relents](Self::relent). Returns how many times something failed.
    pub fn exhaust_each_in_turn(&self, scenario: impl FnMut(u64)) -> u64 {
        self.sweep(Persistence::ForEver, scenario)
    }

    /// One of these two.
    pub fn sweep(&self, persistence: Persistence, mut scenario: impl FnMut(u64)) -> u64 {
        let mut nth = 1;
        loop {
            let before = self.injected();
            self.order(nth, None, persistence);
            scenario(nth);
            self.relent();
            if self.injected() == before {
                return nth - 1;
            }
            nth += 1;
        }
    }

    fn order(&self, nth: u64, only: Option<Resource>, persistence: Persistence) {
        let mut orders = self.plan.orders.lock();
        orders.granted = Some(nth.saturating_sub(1));
        orders.only = only;
        orders.persistence = persistence;
    }

    /// Whether this request is one to fail.
    fn refuses(&self, resource: Resource) -> bool {
        let mut orders = self.plan.orders.lock();
        let Some(granted) = orders.granted else {
            return false;
        };
        if orders.only.is_some_and(|only| only != resource) {
            return false;
        }
        if granted > 0 {
            orders.granted = Some(granted - 1);
            return false;
        }
        if orders.persistence == Persistence::Once {
            orders.granted = None;
        }
        orders.last = Some(resource);
        self.plan.injected.fetch_add(1, Ordering::Relaxed);
        true
    }
}

// SAFETY: every call that is not refused goes to the platform inside, which keeps the promises; a refusal
// is an answer any platform may give.
unsafe impl<P: Platform> Platform for FaultInjector<P> {
    type Lock = P::Lock;

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        if self.refuses(Resource::Frames) {
            return Err(OutOfFrames(request));
        }
        self.inner.allocate_frames(request)
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        if self.refuses(Resource::ScatteredMapping) {
            let len_bytes = frames.len() as u64 * dmamap::addr::FRAME_BYTES;
            return Err(VirtualMapError::OutOfAddressSpace { len_bytes });
        }
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.map_scattered(frames) }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        if self.refuses(Resource::FrameMapping) {
            return Err(VirtualMapError::OutOfAddressSpace {
                len_bytes: frames.len_bytes(),
            });
        }
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.map_frames(frames, attribute) }
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        if self.refuses(Resource::RegisterWindow) {
            return Err(VirtualMapError::OutOfAddressSpace {
                len_bytes: range.len_bytes(),
            });
        }
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.ioremap(range, attribute) }
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        if self.refuses(Resource::Interrupt) {
            return Err(OutOfInterrupts);
        }
        self.inner.allocate_interrupt(handler)
    }

    forward! {
        memory_map free_frames frame_pointer unmap_scattered unmap_frames virt_to_phys iounmap barriers cache_maintenance
        cpus_and_time free_interrupt interrupt_arrivals
    }
}

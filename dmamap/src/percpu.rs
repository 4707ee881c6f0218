//! One value per CPU, which its CPU uses without a lock, and which others can still stop it from using.
//!
//! A CPU that is [pinned](Platform::pin) is alone with its value but for one who stops all CPUs. The two follow Dekker: the CPU
//! says that it is in, then looks whether it may be; who stops says so, then looks who is in. Both must have said it before
//! they look, or both could see nobody: that takes a fence of the CPU. Where the platform can make the *other*
//! CPUs fence ([`Platform::fence_cpus`]), whoever stops pays for both, and a CPU enters its value by plain stores and loads.
//!
//! Who finds the values stopped, or its own in use by what it interrupted, takes another way: there always is one.

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use super::sync::{self, AtomicBool, AtomicU8, Ordering, compiler_fence};
use crate::platform::{Cpu, Platform};

/// One CPU's value; two cache lines apart, as neighbours are prefetched in pairs.
#[repr(align(128))]
struct Seat<T> {
    /// Whether its CPU is in.
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

/// A CPU that has said that it is in may go on: who stops has it fence.
const OPEN: u8 = 0;
/// It may if this is so still when it has fenced: nobody else has it do so.
const FENCING: u8 = 1;
/// It is to leave.
const STOPPED: u8 = 2;

/// A `T` for each CPU of a platform.
pub(crate) struct PerCpu<P: Platform, T> {
    platform: P,
    /// What `state` is where nobody stops, as long as this lives: [`OPEN`] where the platform makes other CPUs fence, else [`FENCING`].
    at_rest: u8,
    state: AtomicU8,
    seats: Box<[Seat<T>]>,
}

// SAFETY: a value is used by one thread at a time: `with` and `Stopped` see to it.
unsafe impl<P: Platform, T: Send> Sync for PerCpu<P, T> {}

impl<P: Platform, T> PerCpu<P, T> {
    pub(crate) fn new(platform: P, mut value: impl FnMut(Cpu) -> T) -> Self {
        let seats = (0..platform.cpu_count()).map(|number| Seat {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value(Cpu(number))),
        });
        let at_rest = if platform.fences_cpus() {
            OPEN
        } else {
            FENCING
        };
        Self {
            platform,
            at_rest,
            state: AtomicU8::new(at_rest),
            seats: seats.collect(),
        }
    }

    /// Calls `f` with this CPU's value; `None` where it is not to be had now. `f` is short, and enters nothing else.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(Cpu, &mut T) -> R) -> Option<R> {
        self.try_with(|cpu, value| Some(f(cpu, value)))
    }

    /// The same where `f` says `None` itself.
    #[inline]
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(Cpu, &mut T) -> Option<R>) -> Option<R> {
        self.platform.pin(|cpu| {
            let seat = self.seats.get(cpu.0)?;
            if seat.taken.load(Ordering::Relaxed) {
                return None;
            }
            seat.taken.store(true, Ordering::Relaxed);
            let _leave = Leave(&seat.taken);
            compiler_fence(Ordering::SeqCst);
            if self.state.load(Ordering::Acquire) != OPEN && !self.may_go_on() {
                return None;
            }
            // SAFETY: only code on this CPU enters this seat (`pin` promises it), and none was in it; whoever stops all waits
            // until `taken` is unset, as it was set before the state was seen not to be `STOPPED`, with a fence between.
            f(cpu, unsafe { &mut *seat.value.get() })
        })
    }

    /// Whether a CPU that is in may stay: it is not stopped, but is to fence for itself.
    #[cold]
    fn may_go_on(&self) -> bool {
        sync::fence(Ordering::SeqCst);
        self.state.load(Ordering::Acquire) == FENCING
    }

    /// Stops all CPUs, one caller at a time.
    ///
    /// # Safety
    /// No other [`Stopped`] of these values exists: the caller holds the lock that all who stop hold. It is not within
    /// [`with`](Self::with) of these.
    pub(crate) unsafe fn stop(&self) -> Stopped<'_, P, T> {
        self.state.swap(STOPPED, Ordering::SeqCst);
        if self.at_rest == OPEN {
            self.platform.fence_cpus();
        }
        for seat in &self.seats {
            // Those are short, with interrupts off, and wait for nothing.
            while seat.taken.load(Ordering::SeqCst) {
                self.platform.relax();
            }
        }
        Stopped { all: self }
    }
}

/// Unsets that a CPU is in, also when what it does there panics.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// All values, and no CPU in any of them until this is dropped.
pub(crate) struct Stopped<'a, P: Platform, T> {
    all: &'a PerCpu<P, T>,
}

impl<P: Platform, T> Stopped<'_, P, T> {
    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.seats.iter().map(|seat| {
            // SAFETY: each CPU that was in has left, which was seen, and none enters in this state; this borrow is the only
            // one, and each value comes once.
            unsafe { &mut *seat.value.get() }
        })
    }

    /// For good: no CPU ever enters again.
    pub(crate) fn forever(self) {
        core::mem::forget(self);
    }
}

impl<P: Platform, T> Drop for Stopped<'_, P, T> {
    fn drop(&mut self) {
        self.all.state.store(self.all.at_rest, Ordering::Release);
    }
}

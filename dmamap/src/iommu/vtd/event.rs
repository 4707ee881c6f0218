//! The fault event (VT-d 7.3): the interrupt that says there are faults to be read, and coming back by timer
//! while a storm of them lasts.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::VtdUnit;
use super::fault::{self, Pending, Place};
use crate::iommu::fault::FaultLog;
use crate::platform::{Interrupt, InterruptHandler, OutOfInterrupts, Platform};

/// How long a fault storm is left alone before its records are read again.
const STORM_PAUSE_NS: u64 = 1_000_000;

/// Who reads a unit's fault records, and when.
pub(super) struct FaultEvent<P: Platform> {
    /// Records are read by one at a time.
    reader: lock_api::Mutex<P::Lock, Place>,
    interrupt: lock_api::Mutex<P::Lock, Option<Interrupt>>,
    /// Readings that timers will do or are doing.
    later: Arc<AtomicUsize>,
    closed: AtomicBool,
}

/// One of the readings counted in [`FaultEvent::later`].
struct Later(Arc<AtomicUsize>);

impl Later {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter.clone())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl<P: Platform> FaultEvent<P> {
    pub(super) fn new() -> Self {
        Self {
            reader: lock_api::Mutex::new(Place::default()),
            interrupt: lock_api::Mutex::new(None),
            later: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Lends an interrupt that calls `handler`.
    pub(super) fn open(
        &mut self,
        platform: P,
        handler: InterruptHandler,
    ) -> Result<Interrupt, OutOfInterrupts> {
        let interrupt = platform.allocate_interrupt(Some(handler))?;
        *self.interrupt.get_mut() = Some(interrupt);
        Ok(interrupt)
    }

    /// Gives the interrupt back.
    pub(super) fn free_interrupt(&self, platform: P) {
        let interrupt = self.interrupt.lock().take();
        if let Some(interrupt) = interrupt {
            platform.free_interrupt(interrupt);
        }
    }
}

impl<P: Platform> VtdUnit<P> {
    /// Reads the records now.
    pub(super) fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        let mut place = self.event.reader.lock();
        fault::service(&self.registers, self.segment, &mut place, log)
    }

    /// Reads the records when the unit says there are some, and again later while they keep coming.
    pub(super) fn on_fault(self: &Arc<Self>, log: &Arc<FaultLog<P>>) {
        if self.read_faults(log) == Pending::Nothing || self.event.closed.load(Ordering::Acquire) {
            return;
        }
        let (unit, log) = (Arc::downgrade(self), log.clone());
        let later = Later::new(&self.event.later);
        let again = Arc::new(move || {
            let _later = &later;
            if let Some(unit) = unit.upgrade() {
                unit.on_fault(&log);
            }
        });
        self.platform
            .call_at(self.platform.now_ns() + STORM_PAUSE_NS, again);
    }

    /// Ends all reading that nobody asked for, the event being masked. When this returns no interrupt handler
    /// and no timer holds the unit any more, so that it goes when its owners drop it, and not in a handler:
    /// there it could not wait for the handler to end.
    pub(super) fn close_event(&self) {
        self.event.closed.store(true, Ordering::Release);
        self.event.free_interrupt(self.platform);
        let deadline_ns = self.registers.deadline_ns();
        while self.event.later.load(Ordering::Acquire) != 0 {
            if self.platform.now_ns() >= deadline_ns {
                log::warn!("a timer of the platform is late; a unit outlives it");
                return;
            }
            self.platform.relax();
        }
    }
}

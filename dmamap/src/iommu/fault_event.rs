//! When a unit's fault records are read: at its interrupt, by timer while a storm of faults lasts, and whenever
//! somebody asks. Where no interrupt can be had, only then.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::iommu::bound::Bound;
use crate::iommu::fault::FaultLog;
use crate::platform::{Interrupt, Platform};

/// How long a fault storm is left alone before its records are read again.
const STORM_PAUSE_NS: u64 = 1_000_000;

/// Whether records were left for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// All were read.
    Nothing,
    /// A device faults faster than they are read. The unit may raise no further interrupt until it has been read
    /// empty, so the caller must come back.
    More,
}

/// A unit whose fault records can be read.
pub(crate) trait FaultSource<P: Platform>: Send + Sync + 'static {
    /// Who reads them, and when.
    fn fault_event(&self) -> &FaultEvent<P>;

    /// Moves records into `log`, as many as there is time for; one reader at a time.
    fn read_faults(&self, log: &FaultLog<P>) -> Pending;
}

/// Who reads a unit's fault records, and when.
pub(crate) struct FaultEvent<P: Platform> {
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
    /// Nobody reads yet.
    pub(crate) fn new() -> Self {
        Self {
            interrupt: lock_api::Mutex::new(None),
            later: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Lends an interrupt at which the records of `unit` are read into `log`. `None` where the platform lends none:
    /// records are then read when somebody asks for them.
    pub(crate) fn open<U: FaultSource<P>>(
        &self,
        platform: P,
        unit: Weak<U>,
        log: &Arc<FaultLog<P>>,
    ) -> Option<Interrupt> {
        let log = log.clone();
        let handler = Arc::new(move || {
            if let Some(unit) = unit.upgrade() {
                read(platform, &unit, &log);
            }
        });
        match platform.allocate_interrupt(Some(handler)) {
            Ok(interrupt) => {
                *self.interrupt.lock() = Some(interrupt);
                Some(interrupt)
            }
            Err(error) => {
                log::info!("faults of an IOMMU unit are read only when asked for: {error}");
                None
            }
        }
    }

    /// The interrupt that was lent, to be programmed again after a reset.
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        *self.interrupt.lock()
    }

    /// Gives the interrupt back.
    pub(crate) fn free_interrupt(&self, platform: P) {
        let interrupt = self.interrupt.lock().take();
        if let Some(interrupt) = interrupt {
            platform.free_interrupt(interrupt);
        }
    }

    /// Ends all reading that nobody asked for, the event being masked. When this returns no interrupt handler
    /// and no timer holds the unit any more, so that it goes when its owners drop it, and not in a handler:
    /// there it could not wait for the handler to end.
    pub(crate) fn close(&self, platform: P, bound: &Bound<P>) {
        self.closed.store(true, Ordering::Release);
        self.free_interrupt(platform);
        let gone = || self.later.load(Ordering::Acquire) == 0;
        if bound.until("timers", gone).is_err() {
            log::warn!("a timer of the platform is late; a unit outlives it");
        }
    }
}

/// Reads the records of a unit that says there are some, and again later while they keep coming.
fn read<P: Platform, U: FaultSource<P>>(platform: P, unit: &Arc<U>, log: &Arc<FaultLog<P>>) {
    let pending = unit.read_faults(log);
    let event = unit.fault_event();
    if pending == Pending::Nothing || event.closed.load(Ordering::Acquire) {
        return;
    }
    let (unit, log) = (Arc::downgrade(unit), log.clone());
    let later = Later::new(&event.later);
    let again = Arc::new(move || {
        let _later = &later;
        if let Some(unit) = unit.upgrade() {
            read(platform, &unit, &log);
        }
    });
    platform.call_at(platform.now_ns() + STORM_PAUSE_NS, again);
}

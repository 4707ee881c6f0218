//! Interrupts: messages that devices write, counted, waited for and handled.
//!
//! ```text
//!   device thread ── write to the message window ──► Interrupts::deliver ──► Vector::arrive  (counts, wakes)
//!                                                            └──► Dispatcher ──► handlers    (interrupt thread)
//! ```
//!
//! A message arrives on whatever thread the hardware runs, perhaps in the middle of a bus transaction, so
//! delivering one takes no lock that is held while other code runs: handlers run on the kernel's interrupt
//! thread. A message is `(address, data)` as x86 has it: bits 12 to 19 of the address choose one of
//! up to 256 destinations, the low byte of the data a vector of it.

mod dispatcher;
mod vector;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use board::hardware::InterruptSink;
use dmamap::addr::BusAddr;
use dmamap::platform::{Interrupt, InterruptHandler, OutOfInterrupts};
use parking_lot::RwLock;

pub(crate) use dispatcher::Dispatcher;
use vector::Vector;

/// The vectors a message may name; those below are the CPU's exceptions, the one above is its
/// spurious-interrupt vector.
const VECTORS: Range<u32> = 0x20..0xff;

/// log2 of the bytes of message addresses each destination has.
const DESTINATION_LOG2: u32 = 12;

/// Most destinations a message address can name.
const MAX_DESTINATIONS: u64 = 256;

/// The interrupt controller of one kernel.
pub(crate) struct Interrupts {
    window: Range<u64>,
    destinations: u32,
    dispatcher: Arc<Dispatcher>,
    table: RwLock<Table>,
    spurious: AtomicU64,
}

#[derive(Default)]
struct Table {
    /// By interrupt number; `None` where it is not lent.
    vectors: Vec<Option<Arc<Vector>>>,
    /// Numbers that were lent and came back, oldest first: what was freed last is lent again last, so that
    /// a message that comes late is noticed rather than taken for somebody else's.
    returned: VecDeque<u32>,
}

impl Interrupts {
    /// Where devices write messages, if anywhere.
    pub(crate) fn window(&self) -> Range<u64> {
        self.window.clone()
    }

    /// A controller for messages written to `window`, spread over `cpus` destinations where it has as many.
    pub(crate) fn new(window: Range<u64>, cpus: usize, dispatcher: Arc<Dispatcher>) -> Self {
        let room =
            (window.end.saturating_sub(window.start) >> DESTINATION_LOG2).min(MAX_DESTINATIONS);
        let destinations = room.min(cpus as u64) as u32;
        Self {
            window,
            destinations,
            dispatcher,
            table: RwLock::default(),
            spurious: AtomicU64::new(0),
        }
    }

    /// Lends an interrupt.
    pub(crate) fn allocate(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        let mut table = self.table.write();
        let number = if (table.vectors.len() as u32) < self.destinations * VECTORS.len() as u32 {
            table.vectors.push(None);
            table.vectors.len() as u32 - 1
        } else {
            table.returned.pop_front().ok_or(OutOfInterrupts)?
        };
        table.vectors[number as usize] = Some(Arc::new(Vector::new(handler)));
        Ok(self.describe(number))
    }

    /// Takes an interrupt back and waits until its handler does not run any more, unless it is the
    /// handler that asks. `false` if it was not lent.
    pub(crate) fn free(&self, interrupt: Interrupt) -> bool {
        let taken = {
            let mut table = self.table.write();
            let taken = table
                .vectors
                .get_mut(interrupt.number() as usize)
                .and_then(Option::take);
            if taken.is_some() {
                table.returned.push_back(interrupt.number());
            }
            taken
        };
        let Some(vector) = taken else { return false };
        vector.retire(self.dispatcher.is_current_thread());
        true
    }

    /// How often it has arrived; 0 if it is not lent.
    pub(crate) fn count(&self, interrupt: Interrupt) -> u64 {
        self.vector(interrupt.number())
            .map_or(0, |vector| vector.count())
    }

    /// Waits until it has arrived more than `seen` times or `deadline_ns` has passed; `idle` is called now
    /// and then meanwhile. Returns how often it has arrived.
    pub(crate) fn wait(
        &self,
        interrupt: Interrupt,
        seen: u64,
        deadline_ns: u64,
        idle: impl Fn(),
    ) -> u64 {
        self.vector(interrupt.number())
            .map_or(0, |vector| vector.wait(seen, deadline_ns, idle))
    }

    /// Number of interrupts that are lent.
    pub(crate) fn lent_count(&self) -> usize {
        self.table.read().vectors.iter().flatten().count()
    }

    /// Number of messages that were no interrupt anybody holds.
    pub(crate) fn spurious_count(&self) -> u64 {
        self.spurious.load(Ordering::Relaxed)
    }

    fn vector(&self, number: u32) -> Option<Arc<Vector>> {
        self.table.read().vectors.get(number as usize)?.clone()
    }

    /// The message of an interrupt: neighbours in number go to different destinations.
    fn describe(&self, number: u32) -> Interrupt {
        let destination = u64::from(number % self.destinations) << DESTINATION_LOG2;
        let address = BusAddr::new(self.window.start + destination);
        let data = VECTORS.start + number / self.destinations;
        // SAFETY: the board takes writes to the message window for interrupts, and keeps memory out of it.
        unsafe { Interrupt::new(number, address, data) }
    }

    /// The number of the interrupt a message means.
    fn number_of(&self, bus: u64, data: u32) -> Option<u32> {
        let offset = bus.checked_sub(self.window.start)?;
        let destination = u32::try_from(offset >> DESTINATION_LOG2).ok()?;
        let in_page = offset & ((1 << DESTINATION_LOG2) - 1);
        let valid = in_page == 0 && destination < self.destinations && VECTORS.contains(&data);
        valid.then(|| (data - VECTORS.start) * self.destinations + destination)
    }
}

impl InterruptSink for Interrupts {
    fn deliver(&self, bus: u64, data: u32) {
        let Some(vector) = self
            .number_of(bus, data)
            .and_then(|number| self.vector(number))
        else {
            self.spurious.fetch_add(1, Ordering::Relaxed);
            log::warn!("spurious interrupt: {data:#x} written to bus address {bus:#x}");
            return;
        };
        if vector.arrive() {
            self.dispatcher.enqueue(vector);
        }
    }
}

#[cfg(test)]
#[path = "interrupts_tests.rs"]
mod tests;

//! Interrupts that are lent. That a device's message arrives, the journeys show.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use dmamap::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr};
use dmamap::platform::{Interrupt, Platform};

use super::Violation;
use super::time::wait;

/// How long is waited for an interrupt that does not come.
const WAIT_NS: u64 = 2_000_000;

/// How late something may be: machines are busy, and virtual.
const GRACE_NS: u64 = 10_000_000_000;

/// Interrupts that are raised, and taken back at once.
const ROUNDS: usize = 16;

/// Raises an interrupt as its device would.
pub type Raise<'a> = &'a dyn Fn(Interrupt);

/// Returns how many interrupts were raised.
pub(super) fn check<P: Platform>(
    platform: P,
    raise: Option<Raise<'_>>,
) -> Result<usize, Violation> {
    message_window(platform)?;
    // A port may have none to lend, or one: drivers poll.
    let Ok(first) = platform.allocate_interrupt(None) else {
        return Ok(0);
    };
    let second = platform.allocate_interrupt(None).ok();
    let outcome = match second {
        Some(second) => differ(first, second).and_then(|()| silent(platform, second)),
        None => Ok(()),
    };
    let outcome = outcome.and_then(|()| silent(platform, first));
    for lent in second.into_iter().chain([first]) {
        platform.free_interrupt(lent);
    }
    outcome?;
    match raise {
        Some(raise) => raised(platform, raise),
        None => Ok(0),
    }
}

/// Whole frames, and no memory: it is mapped for every device.
fn message_window<P: Platform>(platform: P) -> Result<(), Violation> {
    let Some(window) = platform.message_window() else {
        return Ok(());
    };
    let whole = window.start().is_aligned(FRAME_SIZE_LOG2)
        && window.len_bytes().is_multiple_of(FRAME_BYTES);
    let mut sound = whole && !window.is_empty();
    platform.memory_map(&mut |ram| sound &= !ram.overlaps(window));
    match sound {
        true => Ok(()),
        false => Err(Violation::MessageWindow { window }),
    }
}

fn differ(first: Interrupt, second: Interrupt) -> Result<(), Violation> {
    let message = |interrupt: &Interrupt| (interrupt.address(), interrupt.data());
    match message(&first) == message(&second) {
        true => Err(Violation::OneMessage { first, second }),
        false => Ok(()),
    }
}

/// An interrupt that nobody raises.
fn silent<P: Platform>(platform: P, interrupt: Interrupt) -> Result<(), Violation> {
    if let Some(window) = platform.message_window() {
        // Devices write there untranslated, or to the same address where a unit translates.
        let address = PhysAddr::new(interrupt.address().as_u64());
        if !window.contains(address) {
            return Err(Violation::MessageElsewhere { interrupt, window });
        }
    }
    let count = platform.interrupt_count(interrupt);
    if count != 0 {
        return Err(Violation::Unraised { interrupt, count });
    }
    let deadline_ns = platform.now_ns() + WAIT_NS;
    let count = platform.wait_for_interrupt(interrupt, 0, deadline_ns);
    if count != 0 {
        return Err(Violation::Unraised { interrupt, count });
    }
    let late_ns = platform.now_ns().saturating_sub(deadline_ns);
    match late_ns > GRACE_NS {
        true => Err(Violation::WaitTooLong { late_ns }),
        false => Ok(()),
    }
}

fn raised<P: Platform>(platform: P, raise: Raise<'_>) -> Result<usize, Violation> {
    let mut raised = 0;
    for round in 0..ROUNDS {
        let handled = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&handled);
        let handler = move || {
            counter.fetch_add(1, Ordering::AcqRel);
        };
        // One was lent before, and every round gives its own back.
        let lent = platform.allocate_interrupt(Some(Arc::new(handler)));
        let interrupt = lent.map_err(|_| Violation::TooLittle { what: "interrupts" })?;
        raise(interrupt);
        raised += 1;
        let times = || handled.load(Ordering::Acquire);
        // The first arrives in peace, the others are overtaken.
        let outcome = match round {
            0 => arrives(platform, interrupt, times),
            _ => Ok(()),
        };
        platform.free_interrupt(interrupt);
        let before = times();
        outcome?;
        wait(platform, WAIT_NS, || times() > before)?;
        if times() > before {
            return Err(Violation::HandlerAfterFree { interrupt });
        }
    }
    Ok(raised)
}

fn arrives<P: Platform>(
    platform: P,
    interrupt: Interrupt,
    handled: impl Fn() -> u64,
) -> Result<(), Violation> {
    let deadline_ns = platform.now_ns() + GRACE_NS;
    // It may return early.
    while platform.wait_for_interrupt(interrupt, 0, deadline_ns) == 0 {
        if platform.now_ns() >= deadline_ns {
            return Err(Violation::NeverArrives { interrupt });
        }
        platform.relax();
    }
    wait(platform, GRACE_NS, || handled() > 0)?;
    match handled() {
        0 => Err(Violation::NotHandled { interrupt }),
        _ => Ok(()),
    }
}

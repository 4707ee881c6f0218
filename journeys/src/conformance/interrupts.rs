//! Interrupts that are lent. That a device's message arrives, the journeys show.

use dmamap::platform::{Interrupt, Platform};

use super::Violation;

/// How long is waited for an interrupt that does not come.
const WAIT_NS: u64 = 2_000_000;

/// How late the wait may end: machines are busy, and virtual.
const GRACE_NS: u64 = 10_000_000_000;

pub(super) fn check<P: Platform>(platform: P) -> Result<(), Violation> {
    let too_little = |_| Violation::TooLittle { what: "interrupts" };
    let first = platform.allocate_interrupt(None).map_err(too_little)?;
    let second = match platform.allocate_interrupt(None) {
        Ok(second) => second,
        Err(error) => {
            platform.free_interrupt(first);
            return Err(too_little(error));
        }
    };
    let outcome = both(platform, first, second);
    platform.free_interrupt(first);
    platform.free_interrupt(second);
    outcome
}

fn both<P: Platform>(platform: P, first: Interrupt, second: Interrupt) -> Result<(), Violation> {
    if (first.address, first.data) == (second.address, second.data) {
        return Err(Violation::OneMessage { first, second });
    }
    for interrupt in [first, second] {
        let count = platform.interrupt_count(interrupt);
        if count != 0 {
            return Err(Violation::Unraised { interrupt, count });
        }
    }
    let deadline_ns = platform.now_ns() + WAIT_NS;
    let count = platform.wait_for_interrupt(first, 0, deadline_ns);
    if count != 0 {
        let interrupt = first;
        return Err(Violation::Unraised { interrupt, count });
    }
    let late_ns = platform.now_ns().saturating_sub(deadline_ns);
    match late_ns > GRACE_NS {
        true => Err(Violation::WaitTooLong { late_ns }),
        false => Ok(()),
    }
}

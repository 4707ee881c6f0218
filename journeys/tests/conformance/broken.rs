//! Ports that break a promise, each found by the promise's name.

use std::mem::discriminant;

use dmamap::addr::{BusAddr, PhysAddr, PhysRange, VirtAddr};
use dmamap::mmio::MmioError;
use dmamap::platform::{FrameRequest, Interrupt, VirtualMapError};
use journeys::conformance::Violation;

use crate::liar::{Lie, NoLock};
use crate::{MIB, verdict};

fn broken(lie: Lie) -> Violation {
    verdict::<parking_lot::RawMutex>(lie, 256 * MIB).expect_err(&format!("{lie:?} was not noticed"))
}

fn each_is_found(expected: &[(Lie, Violation)]) {
    for &(lie, violation) in expected {
        let found = broken(lie);
        let right = discriminant(&found) == discriminant(&violation);
        assert!(right, "{lie:?} was taken for: {found}");
    }
}

fn nowhere() -> PhysRange {
    PhysRange::new(PhysAddr::new(0), 0).unwrap()
}

/// How often a lie is told that does not show each time.
const TRIES: usize = 20;

const REFUSED: VirtualMapError = VirtualMapError::OutOfAddressSpace { len_bytes: 0 };

#[test]
fn memory() {
    let (phys, virt) = (PhysAddr::new(0), VirtAddr::new(0));
    let (frames, range) = (nowhere(), nowhere());
    let request = FrameRequest::new(1);
    let too_little = Violation::TooLittle { what: "" };
    let not_as_requested = Violation::NotAsRequested { request, frames };
    let twice = Violation::LentTwice {
        frames,
        other: range,
    };
    let lost = Violation::FramesLost { rounds: 0 };
    let wrong_phys = Violation::WrongPhys {
        virt,
        expected: None,
        found: None,
    };
    let elsewhere = Violation::ScatteredElsewhere { offset: 0 };
    each_is_found(&[
        (Lie::NoMemory, too_little),
        (Lie::MemoryTwice, Violation::MemoryMap { range }),
        (Lie::MemoryLeftOut, Violation::NotRam { frames }),
        (Lie::FramesRefused, too_little),
        (Lie::UnalignedFrames, not_as_requested),
        (Lie::FramesAboveTheLimit, not_as_requested),
        (Lie::FramesLentTwice, twice),
        (Lie::FramesNeverTakenBack, lost),
        (Lie::OnePointerForAll, Violation::NotMemory { phys }),
        (Lie::PhysOffByAPage, wrong_phys),
        (Lie::StackIsMemory, wrong_phys),
        (Lie::ScatteredRefused, Violation::Scattered(REFUSED)),
        (Lie::ScatteredInOrder, elsewhere),
    ]);
}

/// However much it has, it runs out of it.
#[test]
fn frames_of_a_large_machine_that_are_never_taken_back() {
    let found = verdict::<parking_lot::RawMutex>(Lie::FramesNeverTakenBack, 2048 * MIB);
    let found = found.expect_err("frames are lost");
    assert!(matches!(found, Violation::FramesLost { .. }), "{found}");
}

#[test]
fn caches() {
    let operation = "";
    let loses_writes = Violation::CacheLosesWrites {
        operation,
        offset: 0,
    };
    each_is_found(&[
        (Lie::InvalidateWithoutClean, loses_writes),
        (Lie::UncachedRefused, Violation::Uncached(REFUSED)),
        (Lie::UncachedElsewhere, Violation::OtherMemory { offset: 0 }),
        (
            Lie::CacheLineOfNoPower,
            Violation::CacheLine { line_bytes: 0 },
        ),
        (
            Lie::CacheLineTooShort,
            Violation::CacheLine { line_bytes: 0 },
        ),
    ]);
}

#[test]
fn registers() {
    let refused = MmioError::Map {
        range: nowhere(),
        error: REFUSED,
    };
    let elsewhere = Violation::RegisterElsewhere {
        range: nowhere(),
        wrote: 0,
        read: 0,
    };
    each_is_found(&[
        (Lie::RegistersRefused, Violation::Registers(refused)),
        (Lie::RegistersElsewhere, elsewhere),
    ]);
}

#[test]
fn time() {
    let goes_back = Violation::ClockGoesBack {
        earlier: 0,
        later: 0,
    };
    each_is_found(&[
        (Lie::ClockGoesBack, goes_back),
        (Lie::ClockStands, Violation::ClockStands { looks: 0 }),
        (Lie::DeadlineAtOnce, Violation::CalledEarly { early_ns: 0 }),
        (Lie::DeadlineNever, Violation::NotCalledOnce { times: 0 }),
        (Lie::DeadlineTwice, Violation::NotCalledOnce { times: 0 }),
    ]);
}

#[test]
fn cpus() {
    let no_such_cpu = Violation::NoSuchCpu { cpu: 0, count: 0 };
    let too_few = Violation::TooFewCpus {
        count: 0,
        online: 0,
    };
    let not_each = Violation::NotEachCpu { seen: 0, online: 0 };
    let changes = Violation::CpuCountChanges { before: 0, now: 0 };
    each_is_found(&[
        (Lie::CpuOutOfRange, no_such_cpu),
        (Lie::EveryoneOnOneCpu, Violation::CpuShared { cpu: 0 }),
        (Lie::CpuForgotten, too_few),
        (Lie::CpuNeverRuns, not_each),
        (Lie::CpuAppears, changes),
        (Lie::PinnedAgainElsewhere, Violation::PinMoves { cpu: 0 }),
        (Lie::LeftWhilePinned, Violation::CpuShared { cpu: 0 }),
    ]);
}

#[test]
fn a_lock_that_keeps_nobody_out() {
    let found = verdict::<NoLock>(Lie::Honest, 64 * MIB).unwrap_err();
    let right = matches!(found, Violation::LockDoesNotExclude { lost, .. } if lost > 0);
    assert!(right, "{found}");
}

#[test]
fn a_fence_that_waits_for_cpus_to_take_interrupts() {
    each_is_found(&[(Lie::FencesTheUnpinned, Violation::FenceWaits)]);
}

/// CPUs that run at once look past their own stores now and then: some try shows it. On a single one threads take turns, and
/// nothing shows.
#[test]
fn a_fence_that_fences_nobody() {
    if std::thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
        return;
    }
    let verdict = || verdict::<parking_lot::RawMutex>(Lie::FencesNobody, 64 * MIB);
    let found = (0..TRIES).find_map(|_| verdict().err());
    let found = found.expect("no CPU looked past its own store");
    assert!(matches!(found, Violation::NotFenced { .. }), "{found}");
}

#[test]
fn interrupts() {
    // SAFETY: no device is told of it.
    let interrupt = unsafe { Interrupt::new(0, BusAddr::new(0), 0) };
    let window = nowhere();
    let one_message = Violation::OneMessage {
        first: interrupt,
        second: interrupt,
    };
    let unraised = Violation::Unraised {
        interrupt,
        count: 0,
    };
    each_is_found(&[
        (Lie::OneMessageForAll, one_message),
        (Lie::InterruptsByThemselves, unraised),
        (
            Lie::WaitsPastTheDeadline,
            Violation::WaitTooLong { late_ns: 0 },
        ),
        (Lie::NeverArrives, Violation::NeverArrives { interrupt }),
        (Lie::NeverHandled, Violation::NotHandled { interrupt }),
        (Lie::HandledLate, Violation::HandlerAfterFree { interrupt }),
        (Lie::WindowOfHalfAFrame, Violation::MessageWindow { window }),
        (Lie::WindowIsMemory, Violation::MessageWindow { window }),
        (
            Lie::MessagesBesideTheWindow,
            Violation::MessageElsewhere { interrupt, window },
        ),
    ]);
}

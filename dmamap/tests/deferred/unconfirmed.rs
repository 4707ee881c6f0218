//! Flushes that a unit does not confirm: nothing of what they cover is given back.

use std::time::{Duration, Instant};

use dmamap::buffer::ScatteredBuffer;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::Quarantined;
use machine::temper::Temper;

use super::kinds::{hold, kinds, release};
use super::{LONG_MS, attach_deferred, lend, lend_pages};
use rig::idle::{WAITS, boot_counting};
use rig::patience::wait_until;
use rig::{MORE_THAN_IS_KEPT, PAGE, Rig, share_a_page};

/// A bound short enough to be waited for in a test, and long enough for a unit that answers, on a busy host.
const BOUND_MS: u64 = 150;

fn boot(kind: &super::kinds::Kind, entries: u32, window_ms: u64) -> Rig {
    let mut options = super::flushing(kind.options, entries, window_ms);
    options.units.wait_bound_ms = BOUND_MS;
    boot_counting(kind.config(Temper::Keep), options)
}

fn assert_timed_out(error: Quarantined) {
    let expected = matches!(
        error.error,
        RevokeError::Unit(UnitError::TimedOut {
            bound_ms: BOUND_MS,
            ..
        })
    );
    assert!(expected, "{error}");
}

#[test]
fn everything_in_a_flush_that_is_not_confirmed_is_kept() {
    for kind in kinds() {
        let rig = boot(&kind, 64, LONG_MS);
        let device = attach_deferred(&rig);
        let retired: Vec<_> = (0..3).map(|_| lend_pages(&device, 2, 1).retire()).collect();
        let ranges: Vec<_> = retired.iter().map(|one| one.range()).collect();
        let in_use = rig.frames_in_use();
        hold(&rig);
        let begun = Instant::now();
        let mut retired = retired.into_iter();
        WAITS.set(0);
        assert_timed_out(retired.next().unwrap().finish().unwrap_err());
        assert!(begun.elapsed() >= Duration::from_millis(BOUND_MS));
        assert!(WAITS.get() > 0, "a wait is counted");
        // The others know already, and nobody waits again.
        WAITS.set(0);
        let second = retired.next().unwrap().try_finish().expect("it is settled");
        assert_timed_out(second.unwrap_err());
        drop(retired);
        assert_eq!(WAITS.get(), 0, "{}", kind.name);
        let figures = device.flush_figures();
        assert_eq!((figures.lost, figures.lost_bytes), (3, 6 * PAGE));
        assert_eq!((figures.waiting, figures.flushes), (0, 0));
        assert_eq!(device.figures().quarantined_bytes, 6 * PAGE);
        assert!(rig.frames_in_use() >= in_use, "memory was given back");
        release(&rig);

        // A unit that works again is asked for new flushes, not for the lost one.
        let others: Vec<_> = (0..100).map(|_| lend(&device, 2)).collect();
        for other in &others {
            for &range in &ranges {
                assert!(!share_a_page(other.range(), range), "{}", kind.name);
            }
        }
        for other in others {
            drop(other.retire().finish().unwrap());
        }
        assert_eq!(device.figures().quarantined_bytes, 6 * PAGE);
        // Until it is asked for that.
        assert_eq!(device.recover(), Ok(6 * PAGE), "{}", kind.name);
        device.detach().unwrap();
        let report = rig.finish_with_losses();
        assert_eq!(report.frames.in_use, 0, "{}: {report:?}", kind.name);
    }
}

#[test]
fn a_timer_whose_flush_is_not_confirmed_says_so_to_all() {
    for kind in kinds() {
        let rig = boot(&kind, 64, 5);
        let device = attach_deferred(&rig);
        let lent = lend(&device, 1);
        hold(&rig);
        let retired = lent.retire();
        wait_until("a timer came", || retired.is_settled());
        assert_timed_out(retired.finish().unwrap_err());
        release(&rig);
        drop(lend(&device, 1).unmap().unwrap());
        assert_eq!(device.figures().quarantined_bytes, PAGE);
        device.detach().unwrap();
        assert_eq!(rig.finish_with_losses().frames.in_use, 0);
    }
}

#[test]
fn a_full_queue_whose_flush_is_not_confirmed_makes_room_by_losing_it() {
    let kind = &kinds()[0];
    let rig = boot(kind, 2, LONG_MS);
    let device = attach_deferred(&rig);
    let lent: Vec<_> = (0..3).map(|_| lend(&device, 1)).collect();
    hold(&rig);
    let retired: Vec<_> = lent.into_iter().map(|lent| lent.retire()).collect();
    release(&rig);
    let figures = device.flush_figures();
    assert_eq!((figures.lost, figures.waiting), (2, 1));
    let outcomes: Vec<_> = retired.into_iter().map(|one| one.finish()).collect();
    assert!(outcomes[0].is_err() && outcomes[1].is_err());
    assert!(outcomes[2].is_ok());
    drop(outcomes);
    assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
    device.detach().unwrap();
    assert_eq!(rig.finish_with_losses().frames.in_use, 0);
}

#[test]
fn tables_in_a_flush_that_is_not_confirmed_are_kept() {
    let kind = &kinds()[0];
    let rig = boot(kind, 64, LONG_MS);
    let device = attach_deferred(&rig);
    let large = ScatteredBuffer::allocate(rig.kernel, MORE_THAN_IS_KEPT).unwrap();
    let large = device.map_sg(large, dmamap::map::FromDevice).unwrap();
    let with_tables = device.domain_frames();
    let retired = large.retire();
    let unlinked = with_tables - device.domain_frames();
    assert!(unlinked > 0, "this test needs tables that are unlinked");
    hold(&rig);
    let error = retired.finish().unwrap_err();
    release(&rig);
    assert_timed_out(error);
    assert_eq!(device.figures().quarantined_bytes, MORE_THAN_IS_KEPT);
    let before = rig.frames_in_use();
    assert_eq!(device.recover(), Ok(MORE_THAN_IS_KEPT));
    let back = MORE_THAN_IS_KEPT / PAGE + unlinked as u64;
    assert!(before - rig.frames_in_use() >= back, "tables are kept");
    device.detach().unwrap();
    assert_eq!(rig.finish_with_losses().frames.in_use, 0);
}

//! Before the flush the device may reach what was retired, and the figures say so; after it, it does not.

use dmamap::map::Attributes;
use dmamap::system::Protection;
use machine::temper::Temper;

use super::kinds::{TEMPERS, kinds};
use super::{BYTES, Bidirectional, LONG_MS, deferred_edu, lend, load};
use rig::{EDU, PAGE, buffer_of, try_write};

const KEPT: u8 = 0x11;
const SENT: u8 = 0x22;

fn holds(bytes: &[u8], pattern: u8) -> bool {
    bytes[..BYTES as usize].iter().all(|&byte| byte == pattern)
}

#[test]
fn a_device_reaches_what_was_retired_until_the_flush_and_not_after_it() {
    for kind in kinds() {
        for temper in TEMPERS {
            let mut rig = kind.boot(temper, 64, LONG_MS);
            let mut edu = deferred_edu(&mut rig);
            load(&mut edu, SENT);
            let before = edu.device().flush_figures();
            assert_eq!((before.waiting, before.flushes), (0, 1), "{}", kind.name);

            let lent = lend(edu.device(), KEPT);
            let bus = lent.bus_addr();
            // The unit remembers the way there, if it remembers anything.
            edu.fetch(&lent, PAGE - BYTES, BYTES).unwrap();
            load(&mut edu, SENT);
            let flushes = edu.device().flush_figures().flushes;
            let retired = lent.retire();
            let exposed = edu.device().flush_figures();
            assert_eq!((exposed.waiting, exposed.waiting_bytes), (1, PAGE));
            assert_eq!(edu.device().translate(bus), None);
            let retired = retired.try_finish().expect_err("no flush has covered it");

            try_write(&mut edu, bus, BYTES);
            let mut seen = [0; BYTES as usize];
            retired.read_at(0, &mut seen).unwrap();
            let reached = holds(&seen, SENT);
            assert!(reached || holds(&seen, KEPT), "{seen:x?}");
            if kind.remembers(temper) {
                assert!(reached, "{}: this test shows nothing", kind.name);
            }
            if temper == Temper::Forget && kind.name != "virtio" {
                assert!(!reached, "{}: the entries were not cleared", kind.name);
            }

            let mut buffer = retired.finish().unwrap();
            let after = edu.device().flush_figures();
            assert_eq!((after.waiting, after.waiting_bytes), (0, 0));
            assert_eq!(after.flushes, flushes + 1);
            assert!(after.longest_window_ns > 0);
            buffer.as_mut_slice().fill(KEPT);
            try_write(&mut edu, bus, BYTES);
            assert!(holds(buffer.as_slice(), KEPT), "{}: {temper:?}", kind.name);
            drop((edu, buffer));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn unmap_of_a_device_nobody_vouched_for_flushes_before_it_returns() {
    for kind in kinds() {
        let mut rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let mut edu = deferred_edu(&mut rig);
        load(&mut edu, SENT);
        let lent = lend(edu.device(), KEPT);
        let bus = lent.bus_addr();
        edu.store(&lent, 0, BYTES).unwrap();
        let mut buffer = lent.unmap().unwrap();
        assert!(holds(buffer.as_slice(), SENT));
        assert_eq!(edu.device().flush_figures().waiting, 0);
        buffer.as_mut_slice().fill(KEPT);
        try_write(&mut edu, bus, BYTES);
        assert!(holds(buffer.as_slice(), KEPT), "{}", kind.name);
        drop((edu, buffer));
        rig.finish_after_faults();
    }
}

#[test]
fn memory_of_a_trusted_device_comes_back_at_once_but_for_what_is_to_be_strict() {
    for kind in kinds() {
        let mut rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let device = rig.attach_trusted(EDU, Protection::Deferred);
        let mut edu = rig.edu_on(device);
        load(&mut edu, SENT);
        for (attributes, waits) in [
            (Attributes::NONE, true),
            (Attributes::NONE.at_least(Protection::Identity), true),
            (Attributes::NONE.at_least(Protection::Strict), false),
        ] {
            edu.device().flush().unwrap();
            let lent = buffer_of(rig.kernel, PAGE, KEPT);
            let lent = edu
                .device()
                .map_single_attrs(lent, Bidirectional, attributes);
            let lent = lent.unwrap();
            let bus = lent.bus_addr();
            edu.fetch(&lent, PAGE - BYTES, BYTES).unwrap();
            load(&mut edu, SENT);
            edu.device().flush().unwrap();

            let mut buffer = lent.unmap().unwrap();
            let waiting = edu.device().flush_figures().waiting;
            assert_eq!(waiting, u64::from(waits), "{}", kind.name);
            try_write(&mut edu, bus, BYTES);
            assert_eq!(holds(buffer.as_slice(), SENT), waits, "{}", kind.name);
            edu.device().flush().unwrap();
            buffer.as_mut_slice().fill(KEPT);
            try_write(&mut edu, bus, BYTES);
            assert!(holds(buffer.as_slice(), KEPT), "{}", kind.name);
        }
        drop(edu);
        rig.finish_after_faults();
    }
}

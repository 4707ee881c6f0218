//! An owner that retires while a flush begins, in every order: loom makes them all.
//!
//! What both agree by is the source that runs, compiled a second time with atomics of loom's (see [`crate::interleaved`]).

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::interleaved::machine::{Fences, Machine};
use crate::interleaved::sync;
use covered::{Covered, order_flush, order_owner};

#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "covered.rs"]
mod covered;

/// Pages that the owner has mapped, the entry of each not 0.
const PAGES: usize = 2;

struct World {
    covered: Covered,
    entries: [AtomicU64; PAGES],
}

impl World {
    /// Retires one page after the other until a flush has begun; of each whether it is staged for that flush.
    fn retire(&self, platform: Machine) -> [bool; PAGES] {
        let fences_cpus = matches!(platform.fences, Fences::OfAll);
        self.entries.each_ref().map(|entry| {
            entry.store(0, Ordering::Release);
            order_owner(fences_cpus);
            !self.covered.is_set()
        })
    }

    /// Flushes; what the unit, which has forgotten all, reads of each entry from then on at the earliest.
    fn flush(&self, platform: Machine) -> [u64; PAGES] {
        self.covered.set();
        order_flush(platform);
        self.entries
            .each_ref()
            .map(|entry| entry.load(Ordering::Relaxed))
    }
}

fn a_flush_begins_while_an_owner_retires(fences: Fences) {
    loom::model(move || {
        let platform = Machine { cpus: 2, fences };
        let world = Arc::new(World {
            covered: Covered::no(),
            entries: [AtomicU64::new(1), AtomicU64::new(1)],
        });
        let owner = {
            let world = world.clone();
            thread::spawn(move || world.retire(platform))
        };
        let walked = world.flush(platform);
        let staged = owner.join().unwrap();
        for (page, (staged, entry)) in staged.into_iter().zip(walked).enumerate() {
            // Such a page is given back when the flush has ended.
            assert!(!staged || entry == 0, "the unit still finds page {page}");
        }
        // The next is about the rest.
        world.covered.unset();
        assert!(!world.covered.is_set());
    });
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_an_owner_stages_for_a_flush_no_unit_finds_after_it() {
    a_flush_begins_while_an_owner_retires(Fences::Own);
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_an_owner_stages_that_leaves_fences_to_the_flush_no_unit_finds_after_it() {
    a_flush_begins_while_an_owner_retires(Fences::OfAll);
}

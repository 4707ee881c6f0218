//! What CPUs do without a lock: values of their own that others stop them from using, and blocks whose ranges others leave. Each
//! of these shows in some order alone, which the models in the library's source make.

use super::super::mutation::{Mutation, Selection, Test};

const PERCPU: &str = "dmamap/src/percpu.rs";
const LENT: &str = "dmamap/src/iova/lanes/lent.rs";

const fn own() -> Test {
    Test::library(
        "dmamap",
        "interleaved::stops::a_cpu_and_who_stops_it_are_never_both_at_its_value",
    )
}

const fn of_all() -> Test {
    Test::library(
        "dmamap",
        "interleaved::stops::a_cpu_that_leaves_fences_to_who_stops_it_is_not_at_its_value_either",
    )
}

const fn again() -> Test {
    Test::library(
        "dmamap",
        "interleaved::stops::a_cpu_that_is_in_is_not_let_in_again_nor_one_that_is_stopped_for_good",
    )
}

const fn left() -> Test {
    Test::library(
        "dmamap",
        "iova::lanes::interleaved::every_range_left_is_found_once_by_the_owner_who_then_has_the_block_alone",
    )
}

const fn in_the_library(name: &'static str) -> Test {
    Test::library("dmamap", name)
}

const fn recalled() -> Test {
    Test::library(
        "dmamap",
        "iova::lanes::interleaved::what_is_freed_while_a_block_is_called_back_is_not_lost",
    )
}

const TALLY: &str = "dmamap/src/bounce/tally.rs";

const fn counted() -> Test {
    in_the_library("bounce::interleaved::what_is_lent_all_the_time_is_counted_whoever_counts")
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "lent-slots-counted-before-what-came-back",
        selection: Selection::Whole,
        file: TALLY,
        find: "let returned = sum(|share| &share.returned);
        sum(|share| &share.lent).saturating_sub(returned)",
        replace: "let lent = sum(|share| &share.lent);
        lent.saturating_sub(sum(|share| &share.returned))",
        why: "a pool is taken for unused while its slots are lent",
        caught_by: &[counted()],
    },
    Mutation {
        name: "slots-come-back-without-order",
        selection: Selection::Whole,
        file: TALLY,
        find: "share.kept.store(kept, Ordering::Relaxed);
        add(&share.returned, slots, Ordering::Release);",
        replace: "share.kept.store(kept, Ordering::Relaxed);
        add(&share.returned, slots, Ordering::Relaxed);",
        why: "who counts finds a slot back and not that another was lent before",
        caught_by: &[counted()],
    },
    Mutation {
        name: "length-by-what-is-in-use",
        selection: Selection::Core,
        file: LENT,
        find: "begins.then(|| units::len_from(unit, |word| self.words[word].joined()))",
        replace: "begins.then(|| units::len_from(unit, |word| { let first = self.words[word].used() & !self.words[word].joined(); self.words[word].used() & !first }))",
        why: "who looks up a range takes one that its owner begins behind it meanwhile for a part of it",
        caught_by: &[
            in_the_library(
                "iova::lanes::interleaved::what_is_said_of_a_range_stays_so_while_its_owner_begins_others_beside_it",
            ),
            in_the_library(
                "iova::lanes::interleaved::what_is_said_of_several_units_stays_so_while_their_owner_begins_others_beside_them",
            ),
        ],
    },
    Mutation {
        name: "ranges-left-end-as-single-units",
        selection: Selection::Core,
        file: LENT,
        find: "if freed & it.joined() >> 1 == 0 {",
        replace: "if freed != 0 {",
        why: "of a range of several units that was freed elsewhere all but the first are in use for good",
        caught_by: &[in_the_library(
            "iova::lanes::interleaved::what_is_left_ends_whole_whatever_its_length",
        )],
    },
    Mutation {
        name: "cpu-enters-without-order",
        selection: Selection::Core,
        file: PERCPU,
        find: "sync::fence(Ordering::SeqCst);",
        replace: "sync::fence(Ordering::AcqRel);",
        why: "a CPU looks whether it is stopped before others can see that it is in",
        caught_by: &[own(), recalled()],
    },
    Mutation {
        name: "cpu-looks-without-order",
        selection: Selection::Whole,
        file: PERCPU,
        find: "self.state.load(Ordering::Acquire) == FENCING",
        replace: "self.state.load(Ordering::Relaxed) == FENCING",
        why: "a CPU that fences for itself does not see what was done with its value while it was stopped",
        caught_by: &[own(), recalled()],
    },
    Mutation {
        name: "cpu-looks-past-what-was-done",
        selection: Selection::Whole,
        file: PERCPU,
        find: "if self.state.load(Ordering::Acquire) != OPEN",
        replace: "if self.state.load(Ordering::Relaxed) != OPEN",
        why: "a CPU that others fence does not see what was done with its value while it was stopped",
        caught_by: &[of_all()],
    },
    Mutation {
        name: "cpu-stays-where-it-fences-for-itself",
        selection: Selection::Whole,
        file: PERCPU,
        find: "self.state.load(Ordering::Acquire) == FENCING",
        replace: "self.state.load(Ordering::Acquire) <= STOPPED",
        why: "a CPU is at its value beside who stopped it, where CPUs fence for themselves",
        caught_by: &[own(), again()],
    },
    Mutation {
        name: "cpu-enters-while-stopped",
        selection: Selection::Whole,
        file: PERCPU,
        find: "if self.state.load(Ordering::Acquire) != OPEN && !self.may_go_on() {",
        replace: "if self.state.load(Ordering::Acquire) == u8::MAX && !self.may_go_on() {",
        why: "a CPU is at its value beside who stopped it",
        caught_by: &[own(), of_all(), again()],
    },
    Mutation {
        name: "cpu-enters-twice",
        selection: Selection::Whole,
        file: PERCPU,
        find: "if seat.taken.load(Ordering::Relaxed) {",
        replace: "if seat.taken.load(Ordering::Relaxed) && false {",
        why: "what interrupts a CPU that is at its value is at it too",
        caught_by: &[again()],
    },
    Mutation {
        name: "cpu-enters-past-the-compiler",
        selection: Selection::Whole,
        file: PERCPU,
        find: "compiler_fence(Ordering::SeqCst);",
        replace: "compiler_fence(Ordering::Release);",
        why: "the compiler may have a CPU look before it is in",
        caught_by: &[of_all()],
    },
    Mutation {
        name: "stop-without-order",
        selection: Selection::Core,
        file: PERCPU,
        find: "self.state.swap(STOPPED, Ordering::SeqCst);",
        replace: "self.state.swap(STOPPED, Ordering::AcqRel);",
        why: "who stops looks who is in before CPUs can see that they are stopped",
        caught_by: &[own(), recalled()],
    },
    Mutation {
        name: "stop-without-waiting",
        selection: Selection::Whole,
        file: PERCPU,
        find: "while seat.taken.load(Ordering::SeqCst) {",
        replace: "while seat.taken.load(Ordering::SeqCst) && false {",
        why: "a CPU is still at its value when all are said to be stopped",
        caught_by: &[own(), of_all(), recalled()],
    },
    Mutation {
        name: "stop-without-fencing-others",
        selection: Selection::Core,
        file: PERCPU,
        find: "self.platform.fence_cpus();",
        replace: "",
        why: "CPUs that do not fence for themselves are not made to either",
        caught_by: &[of_all()],
    },
    Mutation {
        name: "cpu-leaves-without-order",
        selection: Selection::Whole,
        file: PERCPU,
        find: "self.0.store(false, Ordering::Release);",
        replace: "self.0.store(false, Ordering::Relaxed);",
        why: "who stops does not see all that a CPU did with its value",
        caught_by: &[own(), of_all()],
    },
    Mutation {
        name: "stop-ends-without-order",
        selection: Selection::Whole,
        file: PERCPU,
        find: "self.all.state.store(self.all.at_rest, Ordering::Release);",
        replace: "self.all.state.store(self.all.at_rest, Ordering::Relaxed);",
        why: "a CPU does not see what was done with its value while it was stopped",
        caught_by: &[own(), of_all()],
    },
    Mutation {
        name: "range-left-without-order",
        selection: Selection::Core,
        file: LENT,
        find: "fetch_or(starts, Ordering::Release);",
        replace: "fetch_or(starts, Ordering::Relaxed);",
        why: "who gets a range next does not see what was done with it before",
        caught_by: &[left(), recalled()],
    },
    Mutation {
        name: "range-left-in-two-steps",
        selection: Selection::Whole,
        file: LENT,
        find: "self.freed[self.unit(granule) / 64].fetch_or(starts, Ordering::Release);",
        replace: "let freed = &self.freed[self.unit(granule) / 64];
        freed.store(freed.load(Ordering::Relaxed) | starts, Ordering::Release);",
        why: "of two ranges that are left at once one is lost",
        caught_by: &[left()],
    },
    Mutation {
        name: "range-found-without-order",
        selection: Selection::Whole,
        file: LENT,
        find: "freed.swap(0, Ordering::Acquire);",
        replace: "freed.swap(0, Ordering::Relaxed);",
        why: "who gets a range next does not see what was done with it before",
        caught_by: &[left(), recalled()],
    },
    Mutation {
        name: "range-found-in-two-steps",
        selection: Selection::Whole,
        file: LENT,
        find: "let mut freed = freed.swap(0, Ordering::Acquire);",
        replace: "let bits = freed;
            let mut freed = bits.load(Ordering::Acquire);
            bits.store(0, Ordering::Relaxed);",
        why: "a range that is left while the owner looks is lost",
        caught_by: &[left()],
    },
    Mutation {
        name: "range-found-again",
        selection: Selection::Whole,
        file: LENT,
        find: "let mut freed = freed.swap(0, Ordering::Acquire);",
        replace: "let mut freed = freed.load(Ordering::Acquire);",
        why: "a range is ended once more when somebody else has it",
        caught_by: &[left()],
    },
];

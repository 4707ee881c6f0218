//! [`PerCpu`]: CPUs that enter their values, and one who stops all of them.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::check;
use super::machine::{Fences, Machine, be};
use super::percpu::PerCpu;
use crate::platform::Cpu;

/// A number whose every use loom looks at: two at once, or one that does not know of the other, end the model.
type Number = UnsafeCell<u32>;

type Numbers = Arc<PerCpu<Machine, Number>>;

fn numbers(cpus: usize, fences: Fences) -> Numbers {
    Arc::new(PerCpu::new(Machine { cpus, fences }, |_| Number::new(0)))
}

fn add_one(number: &Number) {
    // SAFETY: loom panics where it is not alone.
    number.with_mut(|number| unsafe { *number += 1 });
}

/// Enters so often; how often it was let in.
fn enter(numbers: &Numbers, cpu: Cpu, times: u32) -> u32 {
    be(cpu);
    let entered = |_: &u32| {
        let counted = numbers.with(|here, number| {
            assert_eq!(here, cpu);
            add_one(number);
        });
        counted.is_some()
    };
    (0..times).filter(entered).count() as u32
}

/// What all values come to.
fn sum(numbers: &Numbers) -> u32 {
    // SAFETY: the callers hold the lock, or are alone.
    let mut stopped = unsafe { numbers.stop() };
    let read = |number: &mut Number| {
        // SAFETY: loom panics where somebody writes.
        number.with(|number| unsafe { *number })
    };
    stopped.each().map(read).sum()
}

fn a_cpu_enters_while_another_stops(fences: Fences) {
    loom::model(move || {
        let numbers = numbers(1, fences);
        let cpu = {
            let numbers = numbers.clone();
            thread::spawn(move || enter(&numbers, Cpu(0), 2))
        };
        {
            // SAFETY: nobody else stops.
            let mut stopped = unsafe { numbers.stop() };
            stopped.each().for_each(|number| add_one(number));
        }
        let entered = cpu.join().unwrap();
        assert_eq!(sum(&numbers), entered + 1);
    });
}

#[test]
fn a_cpu_and_who_stops_it_are_never_both_at_its_value() {
    a_cpu_enters_while_another_stops(Fences::Own);
}

#[test]
fn a_cpu_that_leaves_fences_to_who_stops_it_is_not_at_its_value_either() {
    a_cpu_enters_while_another_stops(Fences::OfAll);
}

/// Each CPU sees what was done with its value while it was stopped, also by another one who stopped after the first.
#[test]
fn two_cpus_that_stop_each_other_lose_nothing() {
    check(2, || {
        let numbers = numbers(2, Fences::Own);
        let lock = Arc::new(Mutex::new(()));
        let work = |cpu| {
            let (numbers, lock) = (numbers.clone(), lock.clone());
            move || {
                let entered = enter(&numbers, cpu, 1);
                let held = lock.lock().unwrap();
                // SAFETY: the lock is held.
                let mut stopped = unsafe { numbers.stop() };
                stopped.each().for_each(|number| add_one(number));
                drop(stopped);
                drop(held);
                entered
            }
        };
        let other = thread::spawn(work(Cpu(1)));
        let entered = work(Cpu(0))() + other.join().unwrap();
        assert_eq!(sum(&numbers), entered + 4);
    });
}

#[test]
fn a_cpu_that_is_in_is_not_let_in_again_nor_one_that_is_stopped_for_good() {
    for fences in [Fences::Own, Fences::OfAll] {
        loom::model(move || {
            let numbers = numbers(1, fences);
            let inner = numbers.with(|_, _| numbers.with(|_, number| add_one(number)));
            assert_eq!(inner, Some(None));
            assert_eq!(enter(&numbers, Cpu(0), 1), 1);
            // SAFETY: nobody else stops.
            unsafe { numbers.stop() }.forever();
            assert_eq!(enter(&numbers, Cpu(0), 1), 0);
        });
    }
}

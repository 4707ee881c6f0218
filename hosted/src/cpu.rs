//! Virtual CPUs: a bounded number of tickets, one of which a thread holds while it is pinned.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use dmamap::platform::Cpu;
use parking_lot::{Mutex, MutexGuard};

/// The CPUs of one kernel.
pub(crate) struct Cpus {
    seats: Box<[Seat]>,
}

/// Apart from its neighbours by two cache lines, so that CPUs do not disturb each other.
#[derive(Default)]
#[repr(align(128))]
struct Seat {
    taken: Mutex<()>,
}

thread_local! {
    /// Which CPU this thread holds, per kernel: kernels are told apart by their address. Almost always one.
    static PINNED: RefCell<Vec<(*const Cpus, Cpu)>> = const { RefCell::new(Vec::new()) };
    /// The CPU this thread likes best: the same each time, so that what is kept per CPU stays warm.
    static FAVOURITE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

impl Cpus {
    /// `count` CPUs, at least one.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            seats: (0..count.max(1)).map(|_| Seat::default()).collect(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.seats.len()
    }

    /// Runs `f` on a CPU no other thread is on meanwhile. Pinning again inside `f` stays on that CPU.
    pub(crate) fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        if let Some(cpu) = self.pinned() {
            return f(cpu);
        }
        let (cpu, _seat) = self.sit();
        PINNED.with_borrow_mut(|pinned| pinned.push((self, cpu)));
        let _unpin = Unpin(self);
        f(cpu)
    }

    fn pinned(&self) -> Option<Cpu> {
        PINNED.with_borrow(|pinned| {
            pinned
                .iter()
                .find(|(cpus, _)| std::ptr::eq(*cpus, self))
                .map(|(_, cpu)| *cpu)
        })
    }

    /// The favourite if it is free, else any that is, else the favourite after a wait.
    fn sit(&self) -> (Cpu, MutexGuard<'_, ()>) {
        let count = self.seats.len();
        let favourite = FAVOURITE.with(|favourite| favourite % count);
        for index in (favourite..count).chain(0..favourite) {
            if let Some(seat) = self.seats[index].taken.try_lock() {
                return (Cpu(index), seat);
            }
        }
        (Cpu(favourite), self.seats[favourite].taken.lock())
    }
}

/// Forgets the pin, also when the closure panics, and before the seat is left.
struct Unpin<'a>(&'a Cpus);

impl Drop for Unpin<'_> {
    fn drop(&mut self) {
        PINNED.with_borrow_mut(|pinned| pinned.retain(|(cpus, _)| !std::ptr::eq(*cpus, self.0)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn no_two_threads_share_a_cpu() {
        let cpus = Cpus::new(3);
        let on_cpu: [AtomicBool; 3] = Default::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        cpus.pin(|cpu| {
                            assert!(
                                !on_cpu[cpu.0].swap(true, Ordering::SeqCst),
                                "{cpu:?} is shared"
                            );
                            thread::yield_now();
                            on_cpu[cpu.0].store(false, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn pins_nest_on_the_same_cpu() {
        let (one, other) = (Cpus::new(1), Cpus::new(1));
        let nested = one.pin(|outer| other.pin(|_| one.pin(|inner| inner == outer)));
        assert!(nested);
    }

    #[test]
    fn a_panic_leaves_the_cpu() {
        let cpus = Cpus::new(1);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cpus.pin(|_| std::panic::resume_unwind(Box::new(())))
        }));
        assert!(panic.is_err());
        assert_eq!(
            thread::scope(|scope| scope.spawn(|| cpus.pin(|cpu| cpu.0)).join().unwrap()),
            0
        );
    }
}

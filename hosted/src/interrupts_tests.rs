//! Messages as devices write them, from threads of their own.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Barrier, Weak, mpsc};
use std::thread;
use std::time::Duration;

use super::*;
use crate::clock;

const WINDOW: Range<u64> = 0xfee0_0000..0xfef0_0000;

/// Longer than any of these tests takes; reached only when one fails.
const LONG: Duration = Duration::from_secs(100);

struct Controller {
    interrupts: Arc<Interrupts>,
    dispatcher: Arc<Dispatcher>,
}

impl Controller {
    fn new() -> Self {
        let dispatcher = Arc::new(Dispatcher::default());
        let interrupts = Arc::new(Interrupts::new(WINDOW, 3, Arc::clone(&dispatcher)));
        Self {
            interrupts,
            dispatcher,
        }
    }

    fn raise(&self, interrupt: Interrupt) {
        self.interrupts
            .deliver(interrupt.address().as_u64(), interrupt.data());
    }

    fn wait(&self, interrupt: Interrupt, seen: u64) -> u64 {
        self.interrupts.wait(interrupt, seen, after(LONG), || {})
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.dispatcher.stop();
    }
}

fn after(time: Duration) -> u64 {
    clock::now_ns() + time.as_nanos() as u64
}

fn handler(f: impl Fn() + Send + Sync + 'static) -> Option<InterruptHandler> {
    Some(Arc::new(f))
}

#[test]
fn every_interrupt_has_a_message_of_its_own() {
    let controller = Controller::new();
    let all: Vec<_> = std::iter::from_fn(|| controller.interrupts.allocate(None).ok()).collect();
    assert_eq!(all.len(), 3 * VECTORS.len());
    for interrupt in &all {
        assert!(WINDOW.contains(&interrupt.address().as_u64()));
        controller.raise(*interrupt);
    }
    assert!(
        all.iter()
            .all(|interrupt| controller.interrupts.count(*interrupt) == 1)
    );
    assert_eq!(controller.interrupts.spurious_count(), 0);
    assert!(
        all.iter()
            .all(|interrupt| controller.interrupts.free(*interrupt))
    );
    assert_eq!(controller.interrupts.lent_count(), 0);
    assert!(controller.interrupts.allocate(None).is_ok());
}

#[test]
fn messages_nobody_holds_are_counted_as_spurious() {
    let controller = Controller::new();
    let interrupt = controller.interrupts.allocate(None).unwrap();
    let (address, data) = (interrupt.address().as_u64(), interrupt.data());
    for (bus, data) in [
        (address, data + 1),
        (address + 4, data),
        (address + 0x8000, data),
        (0, data),
    ] {
        controller.interrupts.deliver(bus, data);
    }
    assert_eq!(controller.interrupts.count(interrupt), 0);
    assert!(controller.interrupts.free(interrupt));
    controller.raise(interrupt);
    assert_eq!(controller.interrupts.spurious_count(), 5);
    assert!(!controller.interrupts.free(interrupt), "freed twice");
}

#[test]
fn a_window_without_room_lends_no_interrupt() {
    let interrupts = Interrupts::new(0..0, 4, Arc::default());
    assert_eq!(interrupts.allocate(None), Err(OutOfInterrupts));
    interrupts.deliver(0, 0x20);
    assert_eq!(interrupts.spurious_count(), 1);
}

#[test]
fn a_waiter_sees_arrivals_from_another_thread() {
    let controller = Controller::new();
    let interrupt = controller.interrupts.allocate(None).unwrap();
    let rounds = 500;
    let turn = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                controller.raise(interrupt);
                turn.wait();
            }
        });
        for seen in 0..rounds {
            assert_eq!(controller.wait(interrupt, seen), seen + 1);
            turn.wait();
        }
    });
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let controller = Controller::new();
    let interrupt = controller.interrupts.allocate(None).unwrap();
    let deadline = after(Duration::from_millis(10));
    assert_eq!(controller.interrupts.wait(interrupt, 0, deadline, || {}), 0);
    assert!(clock::now_ns() >= deadline);
    assert_eq!(
        controller.interrupts.wait(interrupt, 0, 0, || {}),
        0,
        "a deadline may have passed"
    );
}

#[test]
fn the_hardware_is_told_again_and_again_that_somebody_waits() {
    let controller = Controller::new();
    let interrupt = controller.interrupts.allocate(None).unwrap();
    let idled = AtomicUsize::new(0);
    let count = controller.interrupts.wait(interrupt, 0, after(LONG), || {
        if idled.fetch_add(1, Ordering::Relaxed) == 2 {
            controller.raise(interrupt);
        }
    });
    assert_eq!((count, idled.into_inner()), (1, 3));
}

#[test]
fn the_handler_runs_once_per_arrival_and_not_on_the_device_thread() {
    let controller = Controller::new();
    let (sender, receiver) = mpsc::channel();
    let interrupt = controller
        .interrupts
        .allocate(handler(move || {
            sender.send(thread::current().id()).unwrap()
        }))
        .unwrap();
    for _ in 0..100 {
        controller.raise(interrupt);
    }
    for _ in 0..100 {
        assert_ne!(receiver.recv_timeout(LONG).unwrap(), thread::current().id());
    }
    assert!(receiver.recv_timeout(Duration::from_millis(5)).is_err());
}

#[test]
fn free_waits_until_the_handler_finished() {
    let controller = Controller::new();
    let entered = Arc::new(Barrier::new(2));
    let finished = Arc::new(AtomicBool::new(false));
    let interrupt = controller
        .interrupts
        .allocate(handler({
            let (entered, finished) = (Arc::clone(&entered), Arc::clone(&finished));
            move || {
                // It may run for the second arrival before it is freed.
                if finished.load(Ordering::SeqCst) {
                    return;
                }
                entered.wait();
                thread::sleep(Duration::from_millis(20));
                finished.store(true, Ordering::SeqCst);
            }
        }))
        .unwrap();
    controller.raise(interrupt);
    controller.raise(interrupt);
    entered.wait();
    assert!(controller.interrupts.free(interrupt));
    assert!(finished.load(Ordering::SeqCst));
    assert_eq!(
        Arc::strong_count(&finished),
        1,
        "nothing holds the handler any more"
    );
}

#[test]
fn a_handler_may_free_its_own_interrupt() {
    let controller = Controller::new();
    let (sender, receiver) = mpsc::channel();
    let mine = Arc::new(RwLock::new(None));
    let interrupts: Weak<Interrupts> = Arc::downgrade(&controller.interrupts);
    let interrupt = controller
        .interrupts
        .allocate(handler({
            let mine = Arc::clone(&mine);
            move || {
                let freed = interrupts
                    .upgrade()
                    .zip(*mine.read())
                    .map(|(all, mine)| all.free(mine));
                sender.send(freed).unwrap();
            }
        }))
        .unwrap();
    *mine.write() = Some(interrupt);
    controller.raise(interrupt);
    assert_eq!(receiver.recv_timeout(LONG), Ok(Some(true)));
}

#[test]
fn a_panic_in_a_handler_is_counted_and_the_next_runs() {
    let controller = Controller::new();
    let interrupt = controller
        .interrupts
        .allocate(handler(|| std::panic::resume_unwind(Box::new(()))))
        .unwrap();
    let (sender, receiver) = mpsc::channel();
    controller.raise(interrupt);
    controller.raise(interrupt);
    let late = after(LONG);
    while controller.dispatcher.panic_count() < 2 {
        assert!(clock::now_ns() < late, "the next handler does not run");
        thread::sleep(Duration::from_micros(100));
    }
    controller.dispatcher.call_at(
        after(Duration::from_millis(1)),
        Arc::new(move || sender.send(()).unwrap()),
    );
    receiver.recv_timeout(LONG).unwrap();
    assert!(controller.interrupts.free(interrupt));
    assert_eq!(controller.dispatcher.panic_count(), 2);
}

#[test]
fn timers_run_in_order_and_not_before_their_deadline() {
    let controller = Controller::new();
    let (sender, receiver) = mpsc::channel();
    let start = clock::now_ns();
    // Nothing runs before all are set.
    let all_set = Arc::new(Barrier::new(2));
    controller.dispatcher.call_at(start, {
        let all_set = Arc::clone(&all_set);
        Arc::new(move || {
            all_set.wait();
        })
    });
    for delay_ms in [9, 3, 6] {
        let sender = sender.clone();
        let report = move || sender.send((delay_ms, clock::now_ns())).unwrap();
        controller
            .dispatcher
            .call_at(start + delay_ms * 1_000_000, Arc::new(report));
    }
    all_set.wait();
    for expected in [3, 6, 9] {
        let (delay_ms, ran_at) = receiver.recv_timeout(LONG).unwrap();
        assert_eq!(delay_ms, expected);
        assert!(ran_at >= start + delay_ms * 1_000_000);
    }
}

#[test]
fn nothing_runs_after_stop() {
    let controller = Controller::new();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = |ran: &Arc<AtomicUsize>| {
        let ran = Arc::clone(ran);
        move || {
            ran.fetch_add(1, Ordering::SeqCst);
        }
    };
    let interrupt = controller
        .interrupts
        .allocate(handler(count(&ran)))
        .unwrap();
    controller
        .dispatcher
        .call_at(after(Duration::from_millis(2)), Arc::new(count(&ran)));
    controller.dispatcher.stop();
    // On a busy host the timer may have come before.
    let before = ran.load(Ordering::SeqCst);
    controller.raise(interrupt);
    thread::sleep(Duration::from_millis(10));
    assert_eq!(ran.load(Ordering::SeqCst), before);
    assert_eq!(
        Arc::strong_count(&ran),
        2,
        "the timer is gone, the lent interrupt keeps its handler"
    );
}

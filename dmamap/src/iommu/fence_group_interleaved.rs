//! Group commit in every order in which a few CPUs and a unit can come: loom makes them all.
//!
//! CPUs do what [`CommandRing`](crate::iommu::command_ring::CommandRing) does when it submits and waits; the unit takes one entry
//! after the other, at any moment. Instead of polling, who waits looks again only when the status has changed: if
//! that is enough, then so is to poll, and a fence that nobody writes is a deadlock, which loom finds.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::fence_group::{Groups, Patience, Ticket};
use crate::interleaved::check;

/// CPUs that submit one command each.
const CPUS: usize = 3;
/// How often loom takes the CPU away where nobody waits. Mutations show with one.
const PREEMPTIONS: usize = 1;
/// Most fences that may be under way.
const UNDER_WAY: u32 = 2;

#[derive(Clone, Copy)]
enum Entry {
    /// The invalidation of this CPU.
    Command(usize),
    Fence(u32),
}

#[derive(Default)]
struct Ring {
    groups: Groups,
    entries: Vec<Entry>,
    /// How many of them the unit was told of.
    published: usize,
    fences: u32,
}

struct World {
    ring: Mutex<Ring>,
    told: Condvar,
    /// The number that the unit wrote last.
    status: Mutex<u32>,
    written: Condvar,
    /// Whether the command of each CPU was done. What the status orders needs no order of loom's.
    done: [AtomicBool; CPUS],
}

impl World {
    fn new() -> Self {
        Self {
            ring: Mutex::new(Ring::default()),
            told: Condvar::new(),
            status: Mutex::new(0),
            written: Condvar::new(),
            done: core::array::from_fn(|_| AtomicBool::new(false)),
        }
    }

    fn status(&self) -> u32 {
        *self.status.lock().unwrap()
    }

    fn fence_group(&self, ring: &mut Ring) {
        let status = self.status();
        ring.groups.see(|fence| status >= fence.number);
        let end = ring.entries.len() as u64 + 1;
        if let Some(number) = ring.groups.close(end, Patience::Left) {
            ring.fences += 1;
            assert_eq!(number, ring.fences, "fences are numbered in their order");
            assert!(
                number - status <= UNDER_WAY,
                "{status} of {number} are done"
            );
            ring.entries.push(Entry::Fence(number));
            ring.published = ring.entries.len();
            self.told.notify_one();
        }
    }

    fn submit(&self, cpu: usize) -> Ticket {
        let mut ring = self.ring.lock().unwrap();
        ring.entries.push(Entry::Command(cpu));
        let end = ring.entries.len() as u64;
        let ticket = ring.groups.join(end);
        self.fence_group(&mut ring);
        ticket
    }

    fn wait(&self, ticket: Ticket) {
        loop {
            let seen = self.status();
            if seen >= ticket.number {
                return;
            }
            {
                let mut ring = self.ring.lock().unwrap();
                if ring.groups.is_open_for(ticket) {
                    self.fence_group(&mut ring);
                }
            }
            let mut status = self.status.lock().unwrap();
            while *status == seen {
                status = self.written.wait(status).unwrap();
            }
        }
    }

    fn unmap(&self, cpu: usize) {
        let ticket = self.submit(cpu);
        self.wait(ticket);
        let done = self.done[cpu].load(Ordering::Relaxed);
        assert!(done, "it is over before the unit has done it");
    }

    /// The unit: until the commands of all CPUs and a fence behind them are done.
    fn work(&self) {
        let (mut head, mut done, mut fenced) = (0, 0, false);
        while done < CPUS || !fenced {
            let entry = {
                let mut ring = self.ring.lock().unwrap();
                while head == ring.published {
                    ring = self.told.wait(ring).unwrap();
                }
                ring.entries[head]
            };
            head += 1;
            match entry {
                Entry::Command(cpu) => {
                    self.done[cpu].store(true, Ordering::Relaxed);
                    (done, fenced) = (done + 1, false);
                }
                Entry::Fence(number) => {
                    *self.status.lock().unwrap() = number;
                    self.written.notify_all();
                    fenced = true;
                }
            }
        }
    }
}

/// No submission is over before a fence behind its commands is done, no more than two fences are under way, and nobody waits
/// for a fence that nobody will write.
#[test]
fn every_submission_ends_and_none_before_its_fence() {
    check(PREEMPTIONS, || {
        let world = Arc::new(World::new());
        let unit = {
            let world = world.clone();
            thread::spawn(move || world.work())
        };
        let others: Vec<_> = (1..CPUS)
            .map(|cpu| {
                let world = world.clone();
                thread::spawn(move || world.unmap(cpu))
            })
            .collect();
        world.unmap(0);
        for other in others {
            other.join().unwrap();
        }
        unit.join().unwrap();
    });
}

//! Runs that are lent without a lock: those that the CPU keeps ready, which came back there.
//!
//! A CPU is alone with what it keeps ([`PerCpu`](crate::percpu::PerCpu)). Where it keeps none of a length it takes several of an
//! area at once, and where it keeps enough it gives several back. What CPUs keep is free all the same: who finds no room calls
//! it back from all of them, as does who gives memory of idle areas back to the platform.
//!
//! The lock of an area is taken within a CPU's part, so that no run is ever on the way where nobody who looks would find it. Who
//! has such a lock waits for nothing.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::area::Lent;
use super::magazine::{self, MOST, Magazine, RunStart};
use super::pool::{Exposure, Pool, run};
use super::record::{Holds, Kind, Record};
use super::request::RunRequest;
use super::run::{Place, Run, RunPlace};
use crate::addr::{BusAddr, PhysAddr, PhysRange};
use crate::map::CopyReach;
use crate::platform::{Cpu, Platform};

/// The most slots that are taken at once, but for a longer run.
const BATCH_SLOTS: u32 = 32;
/// The most runs that are taken, or given back, at once.
const BATCH_RUNS: u32 = 16;

impl<P: Platform> Pool<P> {
    /// Lends a run that this CPU keeps ready.
    #[inline]
    pub(super) fn lend_ready(&self, want: &RunRequest, exposure: &impl Exposure) -> Option<Run> {
        let reaches = |memory, bus| exposure.reaches(memory, bus).then_some(());
        let (run, _, ()) = self.lend_ready_where(want, reaches)?;
        Some(run)
    }

    /// Lends a run that this CPU keeps ready if `reach` says something of its memory, and where the device always has that; also
    /// says where the run begins.
    #[inline]
    pub(crate) fn lend_ready_where<T>(
        &self,
        want: &RunRequest,
        reach: impl FnOnce(PhysRange, Option<BusAddr>) -> Option<T>,
    ) -> Option<(Run, RunStart, T)> {
        let slots = want.slots_of_kept()?;
        let lent = self.cpus.with(|cpu, magazine| {
            let at = magazine.first(slots)?;
            let area = &self.areas[at.area()];
            let (memory, bus) = area.run_at(at.slot(), slots);
            let reached = reach(memory, bus)?;
            // SAFETY: what the magazine has is taken, and stays so while this CPU is in it.
            let record = unsafe { area.record(at.slot()) };
            magazine.pop(slots, record);
            let purpose = want.purpose(want.offset);
            let holds = record.tag().holds();
            record.lend(slots, &purpose);
            self.tally.lend_kept(cpu, slots);
            let run = Run {
                place: Place::Slots(at),
                memory,
                purpose,
                bus,
                holds,
            };
            Some((run, at, reached))
        });
        lent.flatten()
    }

    /// Lends a run of an area that has one, this CPU's own first, and has the CPU keep a few more ready.
    pub(super) fn lend_several(
        &self,
        order: u32,
        keep: &Range<u32>,
        want: &RunRequest,
        exposure: &dyn Exposure,
    ) -> Option<Run> {
        let slots = want.slots_of_kept()?;
        let lent = self.cpus.with(|cpu, magazine| {
            let home = cpu.0 % self.homes;
            let room = self.most_kept.load(Ordering::Relaxed);
            let room = room.saturating_sub(self.tally.kept(cpu)) / 2;
            let most = BATCH_SLOTS.min(room) / slots;
            let most = most.clamp(1, BATCH_RUNS) as usize;
            let reaches = |frames, bus| exposure.reaches(frames, bus);
            let (mut taken, mut count) = ([0; BATCH_RUNS as usize], 0);
            let mut areas = (home..self.areas.len()).chain(0..home);
            let n = areas.find(|&n| {
                // Of another CPU's own area no more than is needed.
                let most = match n == home || n >= self.homes {
                    true => most,
                    false => 1,
                };
                self.areas[n].take(order, keep, most, reaches, |slot| {
                    taken[count] = slot;
                    count += 1;
                });
                count > 0
            })?;
            let (&first, others) = taken[..count].split_first()?;
            // The next is the one that lies behind this.
            for &slot in others.iter().rev() {
                // SAFETY: just taken.
                let record = unsafe { self.areas[n].record(slot) };
                magazine.push(slots, RunStart::new(n, slot), record, Holds::Anything);
            }
            self.tally.take(cpu, slots, others.len() as u32 * slots);
            Some(self.lend(n, first, slots, want))
        });
        lent.flatten()
    }

    /// Lends a run that was just taken and is counted.
    pub(super) fn lend(&self, area: usize, slot: u32, slots: u32, want: &RunRequest) -> Run {
        let before = match want.block() {
            Some((_, keep)) => u64::from(keep.start) << super::SLOT_SIZE_LOG2,
            None => 0,
        };
        let purpose = want.purpose(want.offset - before);
        let (memory, bus) = self.areas[area].run_at(slot, slots);
        // SAFETY: the caller took it.
        unsafe { self.areas[area].record(slot) }.lend(slots, &purpose);
        let lent = Lent {
            slot,
            memory,
            purpose,
            bus,
            holds: Holds::Anything,
        };
        run(area, lent)
    }

    /// Takes back the run that begins there, which the caller has: this CPU keeps it, or the area has it again.
    #[inline(never)]
    pub(super) fn give_back(&self, start: RunStart) {
        // SAFETY: the caller has the run.
        let record = unsafe { self.areas[start.area()].record(start.slot()) };
        if !self.keep(start, record, Holds::Anything) {
            self.give_back_to_area(start);
        }
    }

    /// Has this CPU keep the run that begins there, where `record` is; whether it does.
    ///
    /// It is half of what the end of a copy takes: a call would cost as much again.
    #[inline(always)]
    fn keep(&self, start: RunStart, record: &Record, holds: Holds) -> bool {
        let tag = record.tag();
        let slots = tag.slots();
        if tag.kind() != Kind::Lent || !magazine::is_kept(slots, start.slot()) {
            return false;
        }
        let kept = self.cpus.with(|cpu, magazine| {
            let most = self.most_kept.load(Ordering::Relaxed);
            if self.tally.kept(cpu) + slots > most && !self.make_room(cpu, magazine, slots) {
                return false;
            }
            magazine.push(slots, start, record, holds);
            self.tally.keep_returned(cpu, slots);
            true
        });
        kept == Some(true)
    }

    /// Calls `f` with the bytes of the run that is lent there, the bytes of all its slots, and when the device has it; `f` says what
    /// the run holds then. Takes the run back. Of a run of frames of its own nothing is done, and `false` is said.
    ///
    /// # Safety
    /// That of [`release`](Self::release).
    #[inline]
    pub(crate) unsafe fn end_slots(
        &self,
        RunPlace(at): RunPlace,
        f: impl FnOnce(PhysAddr, [u64; 2], CopyReach) -> Holds,
    ) -> bool {
        let Place::Slots(at) = at else {
            return false;
        };
        let area = &self.areas[at.area()];
        // SAFETY: the caller has the run.
        let record = unsafe { area.record(at.slot()) };
        let (start, reach) = area.start_of(at.slot());
        let (offset, len_bytes) = record.extent();
        let run_bytes = u64::from(record.tag().slots()) << super::SLOT_SIZE_LOG2;
        let holds = f(PhysAddr::new(start + offset), [len_bytes, run_bytes], reach);
        if !self.keep(at, record, holds) {
            self.give_back_to_area(at);
        }
        true
    }

    #[cold]
    fn give_back_to_area(&self, start: RunStart) {
        if let Some(slots) = self.areas[start.area()].give_back(start.slot(), Kind::Lent) {
            self.platform.pin(|cpu| self.tally.give_back(cpu, slots));
        }
    }

    /// Gives some of what this CPU keeps back to the areas, so that it may keep so many slots; whether it may.
    #[cold]
    fn make_room(&self, cpu: Cpu, magazine: &mut Magazine, slots: u32) -> bool {
        // Those that others ask for come last.
        let length = magazine.longest(slots);
        self.give_back_kept(cpu, magazine, length, BATCH_RUNS);
        self.tally.kept(cpu) + slots <= self.most_kept.load(Ordering::Relaxed)
    }

    /// Gives up to `most` of the runs of so many slots that the CPU keeps back to the areas.
    fn give_back_kept(&self, cpu: Cpu, magazine: &mut Magazine, slots: u32, most: u32) {
        let mut given = 0;
        for _ in 0..most {
            let Some(at) = magazine.first(slots) else {
                break;
            };
            let area = &self.areas[at.area()];
            // SAFETY: what the magazine has is taken.
            magazine.pop(slots, unsafe { area.record(at.slot()) });
            given += area.give_back(at.slot(), Kind::Kept).unwrap_or(0);
        }
        self.tally.give_back_kept(cpu, given);
    }

    /// Gives the areas back what CPUs keep ready, and calls `f` before any of them keeps anything again; `None` where none keeps
    /// anything.
    #[cold]
    pub(super) fn recall<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        if !self.tally.any_kept() {
            return None;
        }
        let _alone = self.recalls.lock();
        // SAFETY: one at a time has the lock, and nothing within a CPU's part comes here.
        let mut stopped = unsafe { self.cpus.stop() };
        for (number, magazine) in stopped.each().enumerate() {
            for slots in 1..=MOST {
                self.give_back_kept(Cpu(number), magazine, slots, u32::MAX);
            }
        }
        Some(f())
    }
}

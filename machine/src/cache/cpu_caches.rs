//! The caches of all CPUs, which are coherent with each other, and the moments at which they act by themselves.
//!
//! A kernel maintains them ([`clean`](CpuCaches::clean), [`invalidate`](CpuCaches::invalidate)). Beside that real
//! caches write dirty lines back and fetch lines when they like, at any moment. The [temper](Temper) says when these do:
//!
//! - *keep*: never. What was not written back is not in memory, what was not dropped is stale;
//! - *forget*: at once. A dirty line is written back as soon as hardware has read or written it, over what hardware wrote;
//! - *random*: as the dice fall, in lines that hardware has just accessed or the kernel has just maintained.
//!
//! The first shows what was forgotten where the CPU's lines stay too long, the second where they go too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use board::ram::{OutsideRam, Ram, RamError, RamRegion};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::line::{LINE_WORDS, Line};
use super::{LINE_BYTES, POISON, POISON_BYTE};
use crate::bus::Access;
use crate::temper::{Dice, Temper};

const FRAME_BYTES: u64 = 4096;
const FRAME_WORDS: usize = FRAME_BYTES as usize / 8;

/// With a random temper one line in so many that hardware accesses is written back or fetched by itself.
const ONE_LINE_IN: u64 = 8;

/// Lines remembered for the caches to act upon later.
const RECENT_LINES: usize = 64;

/// What the caches did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Lines the kernel had written back, whether dirty or not.
    pub cleaned_lines: u64,
    /// Of these, lines that were dirty.
    pub cleaned_dirty_lines: u64,
    /// Lines the kernel had dropped.
    pub invalidated_lines: u64,
    /// Of these, lines that were dirty: what the CPU had stored there was lost, or written over what hardware wrote.
    pub invalidated_dirty_lines: u64,
    /// Dirty lines that went to memory by themselves.
    pub evicted_lines: u64,
    /// Lines that came from memory by themselves, and had changed there.
    pub fetched_lines: u64,
}

#[derive(Debug, Default)]
struct Counters {
    cleaned: AtomicU64,
    cleaned_dirty: AtomicU64,
    invalidated: AtomicU64,
    invalidated_dirty: AtomicU64,
    evicted: AtomicU64,
    fetched: AtomicU64,
}

/// The CPU's caches over RAM.
#[derive(Debug)]
pub struct CpuCaches {
    /// Memory as CPUs and hardware that snoops see it.
    cached: Arc<Ram>,
    /// Memory itself.
    memory: Arc<Ram>,
    known: Mutex<Known>,
    temper: Temper,
    dice: Dice,
    counters: Counters,
}

/// The frames of which a line ever left the caches, or was accessed beside them. Of all others memory is poison, and
/// what the CPU has there is in its caches alone.
#[derive(Debug, Default)]
struct Known {
    /// Per frame number, the words of its lines as last filled or written back.
    base: FxHashMap<u64, Box<[u64; FRAME_WORDS]>>,
    recent: Vec<u64>,
    next_recent: usize,
}

impl Known {
    fn remember(&mut self, line: u64) {
        if self.recent.len() < RECENT_LINES {
            self.recent.push(line);
        } else {
            self.recent[self.next_recent] = line;
            self.next_recent = (self.next_recent + 1) % RECENT_LINES;
        }
    }
}

impl CpuCaches {
    /// Caches over `cached`, which is what CPUs see from now on; memory beneath is made here.
    ///
    /// # Errors
    /// [`RamError`] when the host has no memory for it.
    pub fn new(cached: Arc<Ram>, temper: Temper, seed: u64) -> Result<Arc<Self>, RamError> {
        let region = |phys: &std::ops::Range<u64>| RamRegion {
            phys: phys.clone(),
            file_offset: phys.start,
        };
        let regions: Vec<_> = cached.regions().iter().map(region).collect();
        Ok(Arc::new(Self {
            memory: Ram::with_file_offsets(&regions)?,
            cached,
            known: Mutex::default(),
            temper,
            dice: Dice::new(match temper {
                Temper::Random(more) => seed ^ more.rotate_left(17),
                Temper::Keep | Temper::Forget => seed,
            }),
            counters: Counters::default(),
        }))
    }

    /// Memory beneath the caches.
    pub fn memory(&self) -> &Arc<Ram> {
        &self.memory
    }

    /// Memory as CPUs see it.
    pub fn cached(&self) -> &Arc<Ram> {
        &self.cached
    }

    /// What the caches did so far.
    pub fn report(&self) -> CacheReport {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheReport {
            cleaned_lines: counted(&self.counters.cleaned),
            cleaned_dirty_lines: counted(&self.counters.cleaned_dirty),
            invalidated_lines: counted(&self.counters.invalidated),
            invalidated_dirty_lines: counted(&self.counters.invalidated_dirty),
            evicted_lines: counted(&self.counters.evicted),
            fetched_lines: counted(&self.counters.fetched),
        }
    }

    /// The CPU writes dirty lines back: every line that holds a byte of the range.
    pub fn clean(&self, phys: u64, len_bytes: u64) {
        let mut known = self.known.lock();
        for line in lines(phys, len_bytes) {
            let dirty = self.at(&mut known, line, |line| line.write_back());
            add(&self.counters.cleaned, 1);
            add(&self.counters.cleaned_dirty, u64::from(dirty == Some(true)));
        }
        self.end(&mut known, phys, len_bytes);
    }

    /// The CPU drops every line that holds a byte of the range. A line that also holds other bytes is written back
    /// first; and so may any other be, as architectures allow.
    pub fn invalidate(&self, phys: u64, len_bytes: u64) {
        let mut known = self.known.lock();
        let end = phys.saturating_add(len_bytes);
        for line in lines(phys, len_bytes) {
            let whole = line >= phys && line + LINE_BYTES <= end;
            let written_back_first = !whole || self.temper.forgets(&self.dice);
            let dirty = self.at(&mut known, line, |line| {
                let dirty = written_back_first && line.write_back();
                line.drop_and_refill() || dirty
            });
            add(&self.counters.invalidated, 1);
            add(
                &self.counters.invalidated_dirty,
                u64::from(whole && dirty == Some(true)),
            );
        }
        self.end(&mut known, phys, len_bytes);
    }

    /// Hardware that does not snoop is about to access memory.
    pub(crate) fn before_access(&self, access: Access, phys: u64, len_bytes: u64) {
        let mut known = self.known.lock();
        for frame in phys / FRAME_BYTES..phys.saturating_add(len_bytes).div_ceil(FRAME_BYTES) {
            self.know(&mut known, frame);
        }
        match self.temper {
            Temper::Keep => {}
            // Not before a write: a line that comes too late is to come after it.
            Temper::Forget if access == Access::Write => {}
            Temper::Forget | Temper::Random(_) => self.stir(&mut known, phys, len_bytes),
        }
    }

    /// Hardware that does not snoop has accessed memory.
    pub(crate) fn after_access(&self, phys: u64, len_bytes: u64) {
        if self.temper == Temper::Keep {
            return;
        }
        let mut known = self.known.lock();
        self.stir(&mut known, phys, len_bytes);
        self.end(&mut known, phys, len_bytes);
    }

    /// Hardware that snoops is about to access memory: it sees a dirty line, and of others what is in memory, where a CPU
    /// may have stored past its caches.
    pub(crate) fn before_snooping(&self, phys: u64, len_bytes: u64) {
        self.in_known_frames(phys, len_bytes, |line| {
            line.refill();
        });
    }

    /// Hardware that snoops has written memory: what it wrote is in both copies.
    pub(crate) fn after_snooping_write(&self, phys: u64, len_bytes: u64) {
        self.in_known_frames(phys, len_bytes, |line| {
            line.write_back();
        });
    }

    fn in_known_frames(&self, phys: u64, len_bytes: u64, mut act: impl FnMut(&mut Line<'_>)) {
        let mut known = self.known.lock();
        for line in lines(phys, len_bytes) {
            if known.base.contains_key(&(line / FRAME_BYTES)) {
                self.at(&mut known, line, &mut act);
            }
        }
    }

    /// Time passes.
    pub(crate) fn idle(&self) {
        if self.temper == Temper::Keep {
            return;
        }
        let mut known = self.known.lock();
        self.act_on_recent(&mut known);
    }

    /// What hardware that does not snoop loads from `phys`, a multiple of 8.
    pub(crate) fn load_memory(&self, phys: u64) -> Result<u64, OutsideRam> {
        let word = self.memory.load_u64(phys)?;
        let mut known = self.known.lock();
        if self.temper != Temper::Keep {
            let line = phys / LINE_BYTES * LINE_BYTES;
            if self.temper == Temper::Forget || self.dice.one_in(2 * ONE_LINE_IN) {
                self.act_on(&mut known, line);
                return self.memory.load_u64(phys);
            }
        }
        Ok(match known.base.contains_key(&(phys / FRAME_BYTES)) {
            true => word,
            false => POISON,
        })
    }

    /// Hardware that does not snoop has `store` store `len_bytes` bytes at `phys`.
    pub(crate) fn store_memory<R>(
        &self,
        phys: u64,
        len_bytes: u64,
        store: impl FnOnce(&Ram) -> R,
    ) -> R {
        self.before_access(Access::Write, phys, len_bytes);
        let stored = store(&self.memory);
        self.after_access(phys, len_bytes);
        stored
    }

    /// The kernel freed these frames and poisoned its copy: what memory holds of them is poison too.
    pub(crate) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let mut known = self.known.lock();
        for frame in phys / FRAME_BYTES..phys.saturating_add(len_bytes).div_ceil(FRAME_BYTES) {
            if known.base.remove(&frame).is_some() {
                self.know(&mut known, frame);
            }
        }
    }

    /// Lines of the range go or come by themselves.
    fn stir(&self, known: &mut Known, phys: u64, len_bytes: u64) {
        for line in lines(phys, len_bytes) {
            if self.temper == Temper::Forget || self.dice.one_in(ONE_LINE_IN) {
                self.act_on(known, line);
            }
        }
    }

    /// Something was done to the range: it is remembered, and the caches may act on what was before it.
    fn end(&self, known: &mut Known, phys: u64, len_bytes: u64) {
        if self.temper == Temper::Keep || len_bytes == 0 {
            return;
        }
        self.act_on_recent(known);
        let (first, last) = (phys, phys.saturating_add(len_bytes - 1));
        for at in [first, last] {
            known.remember(at / LINE_BYTES * LINE_BYTES);
        }
    }

    fn act_on_recent(&self, known: &mut Known) {
        let one = self.dice.below(known.recent.len() as u64) as usize;
        if let Some(&line) = known.recent.get(one) {
            self.act_on(known, line);
        }
    }

    /// A line is written back if it is dirty, and fetched anew if it is not.
    fn act_on(&self, known: &mut Known, line: u64) {
        let (mut evicted, mut fetched) = (false, false);
        self.at(known, line, |line| {
            evicted = line.write_back();
            fetched = line.refill();
        });
        add(&self.counters.evicted, u64::from(evicted));
        add(&self.counters.fetched, u64::from(fetched));
    }

    /// Runs `f` on the line at `line`; `None` where there is no memory.
    fn at<R>(&self, known: &mut Known, line: u64, f: impl FnOnce(&mut Line<'_>) -> R) -> Option<R> {
        let base = self.know(known, line / FRAME_BYTES)?;
        let first = (line % FRAME_BYTES) as usize / 8;
        let mut line = Line {
            cached: self.cached.words(line, LINE_WORDS).ok()?,
            memory: self.memory.words(line, LINE_WORDS).ok()?,
            base: &mut base[first..first + LINE_WORDS],
        };
        Some(f(&mut line))
    }

    /// The base of a frame; at the first time memory is poisoned, so that all the CPU has of it is dirty.
    fn know<'a>(&self, known: &'a mut Known, frame: u64) -> Option<&'a mut [u64; FRAME_WORDS]> {
        let phys = frame.checked_mul(FRAME_BYTES)?;
        if !self.memory.contains(phys, FRAME_BYTES) {
            return None;
        }
        let base = known.base.entry(frame).or_insert_with(|| {
            // Inside memory, as was just found.
            let _ = self.memory.fill(phys, FRAME_BYTES as usize, POISON_BYTE);
            Box::new([POISON; FRAME_WORDS])
        });
        Some(base)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// The lines that hold a byte of the range.
fn lines(phys: u64, len_bytes: u64) -> impl Iterator<Item = u64> {
    let first = phys / LINE_BYTES;
    let end = match len_bytes {
        0 => first,
        _ => phys.saturating_add(len_bytes - 1) / LINE_BYTES + 1,
    };
    (first..end).map(|line| line * LINE_BYTES)
}

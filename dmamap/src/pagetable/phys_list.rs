//! The memory to be mapped: a list of physical ranges that is gone through more than once.

use crate::addr::{PhysAddr, PhysRange};

/// Physical ranges in the order of the bus addresses they are to have.
///
/// The walker looks whether it begins with all there is, and goes through it twice, once to check and once to write: so it asks to
/// start anew each time.
pub trait PhysList {
    /// Goes back to the first range; the same ranges follow.
    fn restart(&mut self);

    /// The next range.
    fn next_range(&mut self) -> Option<PhysRange>;
}

/// A [`PhysList`] of what any iterator yields that can be cloned.
#[derive(Clone, Debug)]
pub struct Replay<I> {
    first: I,
    rest: I,
}

impl<I: Iterator<Item = PhysRange> + Clone> Replay<I> {
    /// The ranges of `iterator`.
    pub fn new(iterator: I) -> Self {
        Self {
            first: iterator.clone(),
            rest: iterator,
        }
    }
}

impl<I: Iterator<Item = PhysRange> + Clone> PhysList for Replay<I> {
    fn restart(&mut self) {
        self.rest = self.first.clone();
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        self.rest.next()
    }
}

/// The ranges of a list with neighbours joined, so that pages laid side by side can become one large leaf.
pub(super) struct Runs<'a, L: ?Sized> {
    list: &'a mut L,
    pending: Option<PhysRange>,
}

impl<'a, L: PhysList + ?Sized> Runs<'a, L> {
    pub(super) fn new(list: &'a mut L) -> Self {
        list.restart();
        Self {
            list,
            pending: None,
        }
    }
}

impl<L: PhysList + ?Sized> Iterator for Runs<'_, L> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        let mut run = match self.pending.take() {
            Some(range) => range,
            None => {
                core::iter::from_fn(|| self.list.next_range()).find(|range| !range.is_empty())?
            }
        };
        while let Some(range) = self.list.next_range() {
            match join(run, range) {
                Some(joined) => run = joined,
                None => {
                    self.pending = Some(range);
                    break;
                }
            }
        }
        Some(run)
    }
}

fn join(run: PhysRange, next: PhysRange) -> Option<PhysRange> {
    if next.is_empty() {
        return Some(run);
    }
    let end: Option<PhysAddr> = run.start().checked_add(run.len_bytes());
    if end != Some(next.start()) {
        return None;
    }
    PhysRange::new(run.start(), run.len_bytes().checked_add(next.len_bytes())?).ok()
}

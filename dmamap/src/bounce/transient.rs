//! Runs of frames of their own: for mappings that no area has room for, or that are longer than an area.

use super::run::Purpose;
use crate::addr::PhysRange;
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

/// What is noted of one such run.
pub(super) struct TransientRun {
    pub(super) memory: PhysRange,
    pub(super) purpose: Purpose,
    next: Option<Handle<Self>>,
    previous: Option<Handle<Self>>,
}

impl TransientRun {
    pub(super) fn new(memory: PhysRange, purpose: Purpose) -> Self {
        Self {
            memory,
            purpose,
            next: None,
            previous: None,
        }
    }
}

/// All such runs of a pool, in a chain.
pub(super) struct TransientRuns<P: Platform> {
    slab: Slab<P, TransientRun>,
    head: Option<Handle<TransientRun>>,
}

impl<P: Platform> TransientRuns<P> {
    pub(super) const fn new(platform: P) -> Self {
        Self {
            slab: Slab::new(platform),
            head: None,
        }
    }

    pub(super) fn insert(&mut self, run: TransientRun) -> Result<Handle<TransientRun>, SlabError> {
        let next = self.head;
        let handle = self.slab.insert(TransientRun { next, ..run })?;
        if let Some(next) = next.and_then(|next| self.slab.get_mut(next)) {
            next.previous = Some(handle);
        }
        self.head = Some(handle);
        Ok(handle)
    }

    pub(super) fn remove(&mut self, handle: Handle<TransientRun>) -> Option<TransientRun> {
        let run = self.slab.remove(handle)?;
        if let Some(next) = run.next.and_then(|next| self.slab.get_mut(next)) {
            next.previous = run.previous;
        }
        match run.previous.and_then(|before| self.slab.get_mut(before)) {
            Some(before) => before.next = run.next,
            None => self.head = run.next,
        }
        Some(run)
    }

    pub(super) fn get(&self, handle: Handle<TransientRun>) -> Option<&TransientRun> {
        self.slab.get(handle)
    }

    /// The run that satisfies `is_it`. As many steps as there are runs: they are few.
    pub(super) fn find(
        &self,
        is_it: impl Fn(&TransientRun) -> bool,
    ) -> Option<(Handle<TransientRun>, &TransientRun)> {
        let mut at = self.head;
        while let Some(handle) = at {
            let run = self.slab.get(handle)?;
            if is_it(run) {
                return Some((handle, run));
            }
            at = run.next;
        }
        None
    }

    /// Gives back frames that hold nothing.
    pub(super) fn reclaim(&mut self) {
        self.slab.reclaim();
    }
}

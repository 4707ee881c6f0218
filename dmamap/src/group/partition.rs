//! Joins functions that something does not keep apart: disjoint sets, and why each join was made.

use alloc::vec::Vec;

use super::reason::Reason;

/// Sets of functions, numbered as they were enumerated.
pub(super) struct Partition {
    /// A number in the same set, smaller or its own.
    up: Vec<usize>,
    /// Each with a member of its set.
    reasons: Vec<(usize, Reason)>,
}

impl Partition {
    /// Everybody alone.
    pub(super) fn of(count: usize) -> Self {
        Self {
            up: (0..count).collect(),
            reasons: Vec::new(),
        }
    }

    /// Puts all of `members` into one set because of `reason`.
    pub(super) fn unite(&mut self, members: impl IntoIterator<Item = usize>, reason: Reason) {
        let mut members = members.into_iter();
        let Some(first) = members.next() else {
            return;
        };
        let mut several = false;
        for other in members {
            self.join(first, other);
            several = true;
        }
        if several {
            self.reasons.push((first, reason));
        }
    }

    /// Puts two into one set, because of `reason` if they were not in one before.
    pub(super) fn unite_pair(&mut self, one: usize, other: usize, reason: Reason) {
        if self.join(one, other) && self.reasons.last() != Some(&(one, reason)) {
            self.reasons.push((one, reason));
        }
    }

    /// Whether they were in two sets.
    fn join(&mut self, one: usize, other: usize) -> bool {
        let (one, other) = (self.root(one), self.root(other));
        let (low, high) = (one.min(other), one.max(other));
        self.up[high] = low;
        low != high
    }

    /// The smallest number in the set of `member`.
    pub(super) fn root(&mut self, member: usize) -> usize {
        let mut at = member;
        while self.up[at] != at {
            self.up[at] = self.up[self.up[at]];
            at = self.up[at];
        }
        at
    }

    /// The members of the set that `root` is the smallest number of.
    pub(super) fn members(&mut self, root: usize) -> Vec<usize> {
        (root..self.up.len())
            .filter(|&member| self.root(member) == root)
            .collect()
    }

    /// Why the members of that set are together.
    pub(super) fn reasons(&mut self, root: usize) -> Vec<Reason> {
        let all = core::mem::take(&mut self.reasons);
        let ours = all.iter().filter(|(member, _)| self.root(*member) == root);
        let ours = ours.map(|(_, reason)| *reason).collect();
        self.reasons = all;
        ours
    }
}

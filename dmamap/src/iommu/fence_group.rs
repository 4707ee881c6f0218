//! Which submissions share a fence (group commit).
//!
//! Whoever submits joins the open group: those whose commands stand behind the last fence. While fewer than two fences
//! are under way the next is written at once, so that one CPU alone is a group of its own and waits for nobody else.
//! Otherwise the group stays open until the older of the two is done; then its fence is written by whichever of its
//! members looks first, not by one that the others would depend on. So a unit always has the next fence before it is done with one, and
//! however many CPUs wait, it makes no more than two waits of what they asked for meanwhile.
//!
//! This is only the account, kept under the ring's lock: [`CommandRing`](super::command_ring::CommandRing) writes and looks.

/// A fence in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fence {
    /// Counts fences.
    pub(super) number: u32,
    /// Entries of the ring up to and including it, since the ring was made.
    pub(super) end: u64,
}

/// What a submission waits for: the first fence behind its commands, which may not be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The number of that fence.
    pub(super) number: u32,
    /// Entries of the ring up to and including the commands.
    pub(super) end: u64,
}

/// Whether who waits goes on sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A fence is written when fewer than two are under way.
    Left,
    /// A fence is written now.
    Over,
}

/// The fences under way, and whether somebody has none.
#[derive(Debug, Default)]
pub(super) struct Groups {
    last: Fence,
    before: Fence,
    /// [`Fence::end`] of the last one that is known to be done.
    over: u64,
    /// Whether there are commands behind the last fence.
    open: bool,
}

impl Groups {
    /// Somebody wrote commands, the last of which is entry number `end`.
    #[inline]
    pub(super) fn join(&mut self, end: u64) -> Ticket {
        self.open = true;
        Ticket {
            number: self.last.number.wrapping_add(1),
            end,
        }
    }

    /// Whether `ticket` is of the group that has no fence yet.
    pub(super) fn is_open_for(&self, ticket: Ticket) -> bool {
        self.open && ticket.number == self.last.number.wrapping_add(1)
    }

    /// Learns from `is_done` which fences are done.
    #[inline]
    pub(super) fn see(&mut self, is_done: impl Fn(Fence) -> bool) {
        for fence in [self.last, self.before] {
            if self.over < fence.end && is_done(fence) {
                self.over = fence.end;
                return;
            }
        }
    }

    /// Whether at most one fence is known to be under way.
    #[inline]
    pub(super) fn is_one_under_way_at_most(&self) -> bool {
        self.over >= self.before.end
    }

    /// Whether a fence behind the commands of `ticket` is known to be done.
    #[inline]
    pub(super) fn is_over(&self, ticket: Ticket) -> bool {
        self.over > ticket.end
    }

    /// Ends the open group, if there is one and it is time to: its fence is to be written as entry number `end`, with the number
    /// that is returned.
    #[inline]
    pub(super) fn close(&mut self, end: u64, patience: Patience) -> Option<u32> {
        let is_time = self.is_one_under_way_at_most() || patience == Patience::Over;
        if !self.open || !is_time {
            return None;
        }
        let number = self.last.number.wrapping_add(1);
        self.before = self.last;
        self.last = Fence { number, end };
        self.open = false;
        Some(number)
    }

    /// The unit was reset: nothing up to entry number `end` is under way any more, nor asks for a fence.
    pub(super) fn forget(&mut self, end: u64) {
        self.over = end;
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes one command, as whoever submits; the number of the fence behind it if that is written too.
    fn submit(groups: &mut Groups, written: &mut u64) -> (Ticket, Option<u32>) {
        *written += 1;
        let ticket = groups.join(*written);
        let number = groups.close(*written + 1, Patience::Left);
        *written += u64::from(number.is_some());
        (ticket, number)
    }

    #[test]
    fn two_fences_go_at_once_and_the_third_waits_for_the_first() {
        let (mut groups, mut written) = (Groups::default(), 0);
        assert_eq!(submit(&mut groups, &mut written).1, Some(1));
        assert_eq!(submit(&mut groups, &mut written).1, Some(2));
        let (third, none) = submit(&mut groups, &mut written);
        let (fourth, none_either) = submit(&mut groups, &mut written);
        assert_eq!((none, none_either), (None, None));
        assert_eq!((third.number, fourth.number), (3, 3));
        groups.see(|fence| fence.number <= 1);
        assert!(groups.is_open_for(third) && !groups.is_over(third));
        assert_eq!(groups.close(written + 1, Patience::Left), Some(3));
        assert_eq!(groups.close(written + 2, Patience::Over), None);
        groups.see(|fence| fence.number <= 3);
        assert!(groups.is_over(third) && groups.is_over(fourth));
    }

    #[test]
    fn who_loses_patience_gets_a_fence_at_once() {
        let (mut groups, mut written) = (Groups::default(), 0);
        for _ in 0..3 {
            submit(&mut groups, &mut written);
        }
        assert_eq!(groups.close(written + 1, Patience::Left), None);
        assert_eq!(groups.close(written + 1, Patience::Over), Some(3));
    }

    #[test]
    fn a_reset_leaves_no_fence_to_wait_for() {
        let (mut groups, mut written) = (Groups::default(), 0);
        for _ in 0..3 {
            submit(&mut groups, &mut written);
        }
        groups.forget(written);
        assert_eq!(groups.close(written + 1, Patience::Over), None);
        assert_eq!(submit(&mut groups, &mut written).1, Some(3));
        assert_eq!(submit(&mut groups, &mut written).1, Some(4));
        assert_eq!(submit(&mut groups, &mut written).1, None);
    }

    #[test]
    fn a_fence_that_is_done_is_remembered_when_later_ones_follow() {
        let (mut groups, mut written) = (Groups::default(), 0);
        let (first, _) = submit(&mut groups, &mut written);
        for done in 1..9 {
            let (late, number) = submit(&mut groups, &mut written);
            assert_eq!(number, Some(done + 1));
            groups.see(|fence| fence.number <= done);
            assert!(groups.is_over(first) && !groups.is_over(late));
        }
    }
}

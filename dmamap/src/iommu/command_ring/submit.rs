//! Submitting commands, and waiting for their fence.
//!
//! Most find room in the ring, and the unit done when they first look: their way is straight through, without a call, and
//! nobody reads the clock. Whoever must wait leaves it for functions of their own, which are bounded in time.

use core::sync::atomic::Ordering;

use super::{Command, CommandRing, FenceSign, MAX_BATCH, Ring, RingPorts, reached};
use crate::iommu::bound::Look;
use crate::iommu::command_batch::Commands;
use crate::iommu::fence_group::{Patience, Ticket};
use crate::iommu::unit::UnitError;
use crate::platform::Platform;

/// How many polls of the status word pass between looks at the error register, which costs a register
/// access each.
const POLLS_PER_ERROR_CHECK: u32 = 64;

impl<P: Platform> CommandRing<P> {
    /// Hands `commands` to the unit and returns when it has done them all.
    ///
    /// # Errors
    /// [`UnitError::TimedOut`] names `what`, [`UnitError::QueueStopped`] when the unit refused a command.
    #[inline]
    pub(crate) fn submit_named(
        &self,
        ports: &impl RingPorts<P>,
        commands: Commands,
        what: &'static str,
    ) -> Result<(), UnitError> {
        match commands {
            Commands::One(command) => self.hand_over(ports, &[command], what),
            Commands::Several(batch) => self.submit(ports, batch.as_slice(), what),
        }
    }

    /// The same of any `commands`, at most [`MAX_BATCH`].
    ///
    /// # Errors
    /// As [`submit_named`](Self::submit_named).
    #[inline(never)]
    pub(crate) fn submit(
        &self,
        ports: &impl RingPorts<P>,
        commands: &[Command],
        what: &'static str,
    ) -> Result<(), UnitError> {
        debug_assert!(commands.len() <= MAX_BATCH);
        self.hand_over(ports, commands, what)
    }

    /// The way of most: there is room, and the unit has done what it was asked when it is first looked at. Nobody reads the
    /// clock then.
    #[inline(always)]
    fn hand_over<R: RingPorts<P>>(
        &self,
        ports: &R,
        commands: &[Command],
        what: &'static str,
    ) -> Result<(), UnitError> {
        match self.place(ports, commands, Patience::Left) {
            Some(ticket) if self.is_done(ports, ticket) => {}
            Some(ticket) => self.wait(ports, ticket, what, ports.bound().deadline_ns())?,
            None => self.hand_over_later(ports, commands, what)?,
        }
        let count = commands.len() as u64;
        self.hot.completed.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until there is room for `commands`, and until they are done.
    #[cold]
    fn hand_over_later(
        &self,
        ports: &impl RingPorts<P>,
        commands: &[Command],
        what: &'static str,
    ) -> Result<(), UnitError> {
        let deadline_ns = ports.bound().deadline_ns();
        let ticket = self.place_later(ports, commands, what, deadline_ns)?;
        self.wait(ports, ticket, what, deadline_ns)
    }

    /// Writes `commands` to the ring, and their fence if it is time to; `None` where it has no room for them, or nobody may
    /// submit.
    #[inline(always)]
    fn place<R: RingPorts<P>>(
        &self,
        ports: &R,
        commands: &[Command],
        patience: Patience,
    ) -> Option<Ticket> {
        // With each, room for a fence: so there is some for that of the group, whoever writes it.
        let needed = commands.len() as u64 + 1;
        let mut ring = self.hot.ring.lock();
        if ring.held || !self.has_room(&mut ring, ports, needed, patience) {
            return None;
        }
        for &command in commands {
            self.write(&mut ring, command);
        }
        let written = ring.written;
        let ticket = ring.groups.join(written);
        if !self.fence_group_inline(&mut ring, ports, Patience::Left) {
            // Another CPU will tell the unit, also of what these commands are about.
            self.platform.dma_wmb();
        }
        Some(ticket)
    }

    /// Whether there is room for `needed` more entries.
    #[inline(always)]
    fn has_room<R: RingPorts<P>>(
        &self,
        ring: &mut Ring,
        ports: &R,
        needed: u64,
        patience: Patience,
    ) -> bool {
        // One entry always stays free, as a full ring looks like an empty one to units without a wrap flag.
        let room = u64::from(self.count - 1);
        ring.unread() + needed <= room || self.make_room(ring, ports, room - needed, patience)
    }

    /// Whether no more than `most` entries are unread by now. If not, those that are have a fence when patience is over.
    #[cold]
    fn make_room(
        &self,
        ring: &mut Ring,
        ports: &impl RingPorts<P>,
        most: u64,
        patience: Patience,
    ) -> bool {
        self.see_head(ring, ports);
        if ring.unread() <= most {
            return true;
        }
        // Whoever fills the ring may have given up, and left the unit untold.
        self.fence_group(ring, ports, patience);
        false
    }

    /// As [`place`](Self::place), as soon as it is possible.
    fn place_later(
        &self,
        ports: &impl RingPorts<P>,
        commands: &[Command],
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<Ticket, UnitError> {
        ports.bound().look_until(deadline_ns, what, |look| {
            if let Some(ticket) = self.place(ports, commands, patience(look)) {
                return Ok(Some(ticket));
            }
            self.check_awake(ports)?;
            ports.check()?;
            Ok(None)
        })
    }

    #[inline]
    fn is_done<R: RingPorts<P>>(&self, ports: &R, ticket: Ticket) -> bool {
        let shown = match R::SIGN {
            FenceSign::StatusWord => self.shows(ticket.number),
            FenceSign::Head => {
                let mut ring = self.hot.ring.lock();
                if !ring.groups.is_over(ticket) {
                    self.see_fences_by_head(&mut ring, ports);
                }
                ring.groups.is_over(ticket)
            }
        };
        // Only then, as the ring may have been reset meanwhile: what it shows since is about later submissions.
        if ticket.end <= self.cut.load(Ordering::Acquire) {
            return ticket.end <= self.covered.load(Ordering::Acquire);
        }
        shown
    }

    /// Has the fence written that `ticket` waits for, if it is not there and it is time to. Whoever waits does so:
    /// whoever else could may be what an interrupt handler, which waits, has interrupted.
    fn see_to_fence<R: RingPorts<P>>(&self, ports: &R, ticket: Ticket, patience: Patience) {
        let fenced = self.hot.fenced.load(Ordering::Acquire);
        if reached(fenced, ticket.number) {
            return;
        }
        let may_be_due = match R::SIGN {
            FenceSign::StatusWord => self.shows(fenced.wrapping_sub(1)),
            FenceSign::Head => true,
        };
        if may_be_due || patience == Patience::Over {
            let mut ring = self.hot.ring.lock();
            if !ring.held && ring.groups.is_open_for(ticket) {
                self.fence_group(&mut ring, ports, patience);
            }
        }
    }

    #[cold]
    fn wait(
        &self,
        ports: &impl RingPorts<P>,
        ticket: Ticket,
        what: &'static str,
        deadline_ns: u64,
    ) -> Result<(), UnitError> {
        let mut polls = 0u32;
        ports.bound().look_until(deadline_ns, what, |look| {
            if self.is_done(ports, ticket) {
                return Ok(Some(()));
            }
            polls = polls.wrapping_add(1);
            self.check_awake(ports)?;
            self.see_to_fence(ports, ticket, patience(look));
            if polls.is_multiple_of(POLLS_PER_ERROR_CHECK) {
                ports.check()?;
            }
            if look != Look::Last {
                return Ok(None);
            }
            // A register that is read makes visible what the unit wrote before it answers.
            ports.check()?;
            Ok(self.is_done(ports, ticket).then_some(()))
        })
    }

    fn check_awake(&self, ports: &impl RingPorts<P>) -> Result<(), UnitError> {
        match self.asleep.load(Ordering::Acquire) {
            true => Err(UnitError::Asleep {
                unit: ports.bound().unit(),
            }),
            false => Ok(()),
        }
    }
}

/// How long whoever looks goes on sharing: a unit that has not got on in half of the time any wait may last may have
/// dropped the fences that a group waits behind.
fn patience(look: Look) -> Patience {
    match look {
        Look::Early => Patience::Left,
        Look::Late | Look::Last => Patience::Over,
    }
}

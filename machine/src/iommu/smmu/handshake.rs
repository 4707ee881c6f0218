//! Registers whose writes take effect later, and show it: `CR0` with `CR0ACK`, `IRQ_CTRL` with `IRQ_CTRLACK`,
//! `GBPA` with its `UPDATE` (6.3.9, 6.3.14).
//!
//! What was written is done at some moment after; the acknowledgement shows it at the second read at the earliest,
//! so that a driver which does not wait is told from one that does, on every run.

/// One such register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    /// What reads show.
    shown: u32,
    effective: u32,
    wanted: u32,
    progress: Progress,
    was_polled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Waiting,
    Started,
    /// In effect, and not shown yet.
    Done,
}

/// Whether a write came after the one before it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    InTurn,
    TooEarly,
}

impl Handshake {
    pub(super) fn new(value: u32) -> Self {
        Self {
            shown: value,
            effective: value,
            wanted: value,
            progress: Progress::Idle,
            was_polled: false,
        }
    }

    /// Software writes.
    pub(super) fn write(&mut self, value: u32) -> Turn {
        let turn = match self.progress {
            Progress::Idle => Turn::InTurn,
            _ => Turn::TooEarly,
        };
        self.wanted = value;
        self.progress = Progress::Waiting;
        self.was_polled = false;
        turn
    }

    /// Software writes; what was written before and is shown needs no acknowledgement.
    pub(super) fn change(&mut self, value: u32) -> Turn {
        if value == self.wanted && !self.is_pending() {
            return Turn::InTurn;
        }
        self.write(value)
    }

    /// What software wrote last.
    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Whether a write was not acknowledged yet.
    pub(super) fn is_pending(&self) -> bool {
        self.progress != Progress::Idle
    }

    /// What to do: from what is in effect to what is wanted. It counts as started.
    pub(super) fn start(&mut self) -> Option<(u32, u32)> {
        if self.progress != Progress::Waiting {
            return None;
        }
        self.progress = Progress::Started;
        Some((self.effective, self.wanted))
    }

    /// What was started, towards `value`, is in effect.
    pub(super) fn finish(&mut self, value: u32) {
        self.effective = value;
        if self.progress == Progress::Started {
            self.progress = Progress::Done;
        }
    }

    /// Software reads the acknowledgement.
    pub(super) fn poll(&mut self) -> u32 {
        if self.progress == Progress::Done && self.was_polled {
            self.progress = Progress::Idle;
            self.shown = self.effective;
        }
        self.was_polled = true;
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_is_shown_at_the_second_read_after_it_is_done() {
        let mut register = Handshake::new(0);
        assert_eq!(register.write(5), Turn::InTurn);
        assert_eq!(register.poll(), 0);
        assert_eq!(register.start(), Some((0, 5)));
        assert_eq!(register.start(), None);
        assert_eq!((register.poll(), register.is_pending()), (0, true));
        register.finish(5);
        assert_eq!((register.poll(), register.is_pending()), (5, false));
    }

    #[test]
    fn write_before_the_acknowledgement_is_told() {
        let mut register = Handshake::new(0);
        register.write(1);
        assert_eq!(register.write(3), Turn::TooEarly);
        assert_eq!(register.start(), Some((0, 3)));
        register.finish(3);
        assert_eq!(register.poll(), 0);
        assert_eq!(register.poll(), 3);
        assert_eq!(register.write(0), Turn::InTurn);
    }
}

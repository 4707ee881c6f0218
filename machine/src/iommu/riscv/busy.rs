//! Registers that show `busy` until what was written is done (5.5, 5.15, 5.16).
//!
//! What was written is done at some moment later, and shows at the second read at the earliest, so that a driver
//! which does not wait is told from one that does, on every run.

/// One such register: `T` is what it asks the unit to do.
#[derive(Debug)]
pub(super) struct Busy<T> {
    wanted: Option<T>,
    progress: Progress,
    /// Software has read the register since.
    was_polled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Waiting,
    Started,
    Done,
}

impl<T> Default for Busy<T> {
    fn default() -> Self {
        Self {
            wanted: None,
            progress: Progress::Idle,
            was_polled: false,
        }
    }
}

impl<T: Copy> Busy<T> {
    pub(super) fn is_busy(&self) -> bool {
        self.progress != Progress::Idle
    }

    /// Software asked for `wanted`.
    pub(super) fn ask(&mut self, wanted: T) {
        self.wanted = Some(wanted);
        self.progress = Progress::Waiting;
        self.was_polled = false;
    }

    /// What is to be done, and counts as started from now on.
    pub(super) fn start(&mut self) -> Option<T> {
        if self.progress != Progress::Waiting {
            return None;
        }
        self.progress = Progress::Started;
        self.wanted
    }

    /// It is done.
    pub(super) fn finish(&mut self) {
        if self.progress == Progress::Started {
            self.progress = Progress::Done;
        }
    }

    /// Software reads the register: what was asked for, once, when it shows as done.
    pub(super) fn poll(&mut self) -> Option<T> {
        if self.progress == Progress::Done && self.was_polled {
            self.progress = Progress::Idle;
            return self.wanted.take();
        }
        self.was_polled = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_shows_at_the_second_read_and_not_before_it_came() {
        let mut busy = Busy::default();
        assert!(!busy.is_busy());
        busy.ask(7);
        assert_eq!(busy.start(), Some(7));
        assert_eq!(busy.start(), None, "started once");
        busy.finish();
        assert_eq!(busy.poll(), None);
        assert!(busy.is_busy());
        assert_eq!(busy.poll(), Some(7));
        assert!(!busy.is_busy());
        busy.ask(8);
        for _ in 0..3 {
            assert_eq!(busy.poll(), None, "nothing was done yet");
        }
    }
}

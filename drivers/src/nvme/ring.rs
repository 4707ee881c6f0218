//! A position in a queue that wraps, and the phase that tells this lap's entries from the last one's.

/// The phase bit of completion entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The bit is 0.
    Zero,
    /// The bit is 1: what the controller writes on its first lap over zeroed memory (Base 3.3.3.2).
    One,
}

impl Phase {
    /// The phase an entry's bit stands for.
    pub(super) fn of(bit: bool) -> Self {
        if bit { Self::One } else { Self::Zero }
    }

    fn inverted(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// The next entry of a queue to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    entries: u32,
    index: u32,
    phase: Phase,
}

impl Ring {
    /// The start of a queue of `entries` (at least 1) in its first lap.
    pub(super) fn new(entries: u32) -> Self {
        Self {
            entries,
            index: 0,
            phase: Phase::One,
        }
    }

    /// Number of entries.
    pub(super) fn entries(self) -> u32 {
        self.entries
    }

    /// The next entry, below [`entries`](Self::entries): also the value for a doorbell.
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// The phase of this lap.
    pub(super) fn phase(self) -> Phase {
        self.phase
    }

    /// Goes to the entry after this one.
    pub(super) fn advance(&mut self) {
        self.index += 1;
        if self.index >= self.entries {
            self.index = 0;
            self.phase = self.phase.inverted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_is_inverted_with_each_lap() {
        let mut ring = Ring::new(3);
        let mut seen = alloc::vec::Vec::new();
        for _ in 0..7 {
            seen.push((ring.index(), ring.phase() == Phase::of(true)));
            ring.advance();
        }
        let expected = [
            (0, true),
            (1, true),
            (2, true),
            (0, false),
            (1, false),
            (2, false),
            (0, true),
        ];
        assert_eq!(seen, expected);
    }
}

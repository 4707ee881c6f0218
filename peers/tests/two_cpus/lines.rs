//! Cache lines as two CPUs have them: which move from one to the other.

use std::collections::{BTreeMap, HashMap};

use super::accesses::{Access, Decoded};
use super::steps::Registers;

/// log2 of a line's bytes.
const LINE_LOG2: u32 = 6;

/// The lines that one operation accesses, and the instruction that did it first: the first store, if there is one.
#[derive(Default)]
pub(crate) struct Touched(HashMap<u64, (Access, u64)>);

impl Touched {
    pub(crate) fn of(steps: &[Registers], decoded: &mut Decoded) -> Self {
        let mut lines: HashMap<u64, (Access, u64)> = HashMap::new();
        decoded.each(steps, |at, bytes, access, ip| {
            for line in at >> LINE_LOG2..=(at + bytes - 1) >> LINE_LOG2 {
                let (so_far, first) = lines.entry(line).or_insert((Access::default(), ip));
                if access.stores && !so_far.stores {
                    *first = ip;
                }
                so_far.loads |= access.loads;
                so_far.stores |= access.stores;
            }
        });
        Self(lines)
    }
}

/// Who has a line: one alone, who wrote it last, or who has read it since.
#[derive(Clone, Copy, Default)]
struct Line {
    has: [bool; 2],
    written: bool,
}

/// A line that moved: where it is, and by which instruction.
pub(crate) type Moved = (u64, u64);

/// Both CPUs' caches, without an end.
#[derive(Default)]
pub(crate) struct Caches(HashMap<u64, Line>);

impl Caches {
    /// What `cpu` takes from the other one, or takes away from it, for an operation that accesses `touched`.
    pub(crate) fn moved(&mut self, cpu: usize, touched: &Touched) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (&line, &(access, ip)) in &touched.0 {
            let state = self.0.entry(line).or_default();
            let others = state.has[1 - cpu];
            let moves = match access.stores {
                true => others,
                false => others && state.written && !state.has[cpu],
            };
            if moves {
                moved.push((line << LINE_LOG2, ip));
            }
            match access.stores {
                true => {
                    state.has[1 - cpu] = false;
                    state.written = true;
                }
                // Both have it now, as memory does.
                false if moves => state.written = false,
                false => {}
            }
            state.has[cpu] = true;
        }
        moved
    }
}

/// How many lines an operation moved, over many of them.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// For each operation, in order.
    counts: Vec<usize>,
    /// How often each line moved, and by which instruction at last.
    lines: BTreeMap<u64, (usize, u64)>,
}

impl Moves {
    pub(crate) fn add(&mut self, moved: &[Moved]) {
        self.counts.push(moved.len());
        for &(line, ip) in moved {
            let (times, last) = self.lines.entry(line).or_default();
            (*times, *last) = (*times + 1, ip);
        }
    }

    /// Of one operation, on the average.
    pub(crate) fn mean(&self) -> f64 {
        self.counts.iter().sum::<usize>() as f64 / self.counts.len() as f64
    }

    /// How many of 1000 operations moved any.
    pub(crate) fn per_mille(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count() * 1000 / self.counts.len()
    }

    /// Of the operation that moved the fewest, of the one in the middle, and of the one that moved most.
    pub(crate) fn least_median_most(&self) -> (usize, usize, usize) {
        let mut sorted = self.counts.clone();
        sorted.sort_unstable();
        (
            sorted[0],
            sorted[sorted.len() / 2],
            sorted[sorted.len() - 1],
        )
    }

    /// Lines that moved, the most moved first: how often, and by which instruction at last.
    pub(crate) fn lines(&self) -> Vec<(u64, usize, u64)> {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .map(|(&line, &(times, ip))| (line, times, ip))
            .collect();
        lines.sort_by_key(|&(_, times, _)| std::cmp::Reverse(times));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORES: Access = Access {
        loads: false,
        stores: true,
    };
    const LOADS: Access = Access {
        loads: true,
        stores: false,
    };

    fn touched(access: Access) -> Touched {
        Touched([(1, (access, 0))].into())
    }

    #[test]
    fn a_line_moves_when_one_writes_what_another_has_or_reads_what_another_wrote() {
        let mut caches = Caches::default();
        let mut moved = |cpu, access| caches.moved(cpu, &touched(access)).len();
        assert_eq!(
            [moved(0, STORES), moved(0, STORES), moved(0, LOADS)],
            [0; 3]
        );
        assert_eq!(
            [moved(1, LOADS), moved(1, LOADS), moved(0, LOADS)],
            [1, 0, 0]
        );
        assert_eq!([moved(0, STORES), moved(1, STORES)], [1, 1]);
        assert_eq!([moved(1, LOADS), moved(1, STORES)], [0, 0]);
    }

    #[test]
    fn what_both_only_read_never_moves() {
        let mut caches = Caches::default();
        let moved = [0, 1, 0, 1].map(|cpu| caches.moved(cpu, &touched(LOADS)).len());
        assert_eq!(moved, [0; 4]);
    }
}

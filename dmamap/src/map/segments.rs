//! What a device is told of a mapped list: pieces of bus addresses it can take one by one.

use crate::addr::BusRange;

/// Cuts runs of bus addresses into segments no longer than `max_bytes` that cross no multiple of `boundary` + 1, neighbours
/// merged as far as that.
pub(crate) fn segments(
    runs: impl Iterator<Item = BusRange>,
    max_bytes: u64,
    boundary: u64,
) -> impl Iterator<Item = BusRange> {
    let mut runs = runs.filter(|run| !run.is_empty());
    // What is left of the run that was met last.
    let mut rest: Option<BusRange> = None;
    core::iter::from_fn(move || {
        let first = rest.take().or_else(|| runs.next())?;
        let start = first.start();
        let to_boundary = (boundary - (start.as_u64() & boundary)).saturating_add(1);
        let limit = max_bytes.min(to_boundary);
        let mut len_bytes = 0;
        let mut next = Some(first);
        while let Some(run) = next {
            let taken = run.len_bytes().min(limit - len_bytes);
            if start.checked_add(len_bytes) != Some(run.start()) || taken == 0 {
                rest = Some(run);
                break;
            }
            len_bytes += taken;
            if taken < run.len_bytes() {
                rest = run.slice(taken, run.len_bytes() - taken);
                break;
            }
            next = runs.next();
        }
        BusRange::new(start, len_bytes).ok()
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::addr::BusAddr;

    const ANY: u64 = u64::MAX;

    fn check(runs: &[(u64, u64)], max_bytes: u64, boundary: u64, expect: &[(u64, u64)]) {
        let runs = runs
            .iter()
            .map(|&(start, len)| BusRange::new(BusAddr::new(start), len).unwrap());
        let cut: Vec<_> = segments(runs, max_bytes, boundary)
            .map(|segment| (segment.start().as_u64(), segment.len_bytes()))
            .collect();
        assert_eq!(cut, expect);
    }

    #[test]
    fn neighbours_merge_up_to_the_limit() {
        let runs = [(0x1000, 0x1000), (0x2000, 0x1000), (0x8000, 0x10)];
        check(&runs, 0x10000, ANY, &[(0x1000, 0x2000), (0x8000, 0x10)]);
        check(
            &runs,
            0x1000,
            ANY,
            &[(0x1000, 0x1000), (0x2000, 0x1000), (0x8000, 0x10)],
        );
        check(
            &runs,
            0x1800,
            ANY,
            &[(0x1000, 0x1800), (0x2800, 0x800), (0x8000, 0x10)],
        );
    }

    #[test]
    fn no_segment_crosses_a_boundary() {
        let runs = [(0xf00, 0x300), (0x1200, 0x1000)];
        check(
            &runs,
            0x10000,
            0xfff,
            &[(0xf00, 0x100), (0x1000, 0x1000), (0x2000, 0x200)],
        );
        check(&[(ANY - 15, 16)], 0x100, ANY, &[(ANY - 15, 16)]);
        check(&[(0, 8)], 0x100, ANY, &[(0, 8)]);
        check(&[(0, 4)], 0x100, 1, &[(0, 2), (2, 2)]);
    }

    #[test]
    fn a_mapping_of_no_bytes_has_no_segment() {
        check(&[], 0x1000, ANY, &[]);
        check(&[(0x1000, 0), (0x1000, 1)], 0x1000, ANY, &[(0x1000, 1)]);
    }
}

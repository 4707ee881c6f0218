//! What a device is told of a mapped list: pieces of bus addresses it can take one by one.

use crate::addr::BusRange;

/// Cuts a mapping into pieces no longer than `max_bytes` that cross no multiple of `boundary` + 1, neighbours on the bus
/// merged as far as that.
///
/// `run_at` tells the run of bus addresses from a byte of the mapping on; `None` at its end.
pub(crate) fn segments(
    run_at: impl Fn(u64) -> Option<BusRange>,
    max_bytes: u64,
    boundary: u64,
) -> impl Iterator<Item = BusRange> {
    let mut offset = 0;
    core::iter::from_fn(move || {
        let first = run_at(offset)?;
        let to_boundary = (boundary - (first.start().as_u64() & boundary)).saturating_add(1);
        let max_bytes = max_bytes.min(to_boundary);
        let mut len = first.len_bytes();
        while len < max_bytes {
            match run_at(offset + len) {
                Some(next) if first.start().checked_add(len) == Some(next.start()) => {
                    len += next.len_bytes();
                }
                _ => break,
            }
        }
        let segment = BusRange::new(first.start(), len.min(max_bytes)).ok()?;
        offset += segment.len_bytes();
        Some(segment)
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::addr::BusAddr;

    const ANY: u64 = u64::MAX;

    fn check(runs: &[(u64, u64)], max_bytes: u64, boundary: u64, expect: &[(u64, u64)]) {
        let run_at = |offset: u64| {
            let mut before = 0;
            runs.iter().find_map(|&(start, len)| {
                let within = offset.checked_sub(before)?;
                before += len;
                (within < len)
                    .then(|| BusRange::new(BusAddr::new(start + within), len - within).unwrap())
            })
        };
        let cut: Vec<_> = segments(run_at, max_bytes, boundary)
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
        check(&[(u64::MAX - 15, 16)], 0x100, ANY, &[(u64::MAX - 15, 16)]);
        check(&[(0, 8)], 0x100, ANY, &[(0, 8)]);
        check(&[(0, 4)], 0x100, 0, &[(0, 1), (1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn a_mapping_of_no_bytes_has_no_segment() {
        check(&[], 0x1000, ANY, &[]);
    }
}

//! What is said of many samples.
//!
//! ```
//! use peers::statistics::Summary;
//!
//! let summary = Summary::of(&[3.0, 1.0, 100.0]).ok_or("no samples")?;
//! assert_eq!((summary.min, summary.median), (1.0, 3.0));
//! # Ok::<(), &str>(())
//! ```

/// Nanoseconds for one operation, over all samples of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The fastest sample: what the code costs when nothing comes between.
    pub min: f64,
    /// As many samples were faster as slower.
    pub median: f64,
}

impl Summary {
    /// Of `samples`, in any order; `None` if there are none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted.get(middle.checked_sub(1)?)? + sorted[middle]) / 2.0,
        };
        let min = *sorted.first()?;
        Some(Self { min, median })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let of =
            |samples: &[f64]| Summary::of(samples).map(|summary| (summary.min, summary.median));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7.0]), Some((7.0, 7.0)));
        assert_eq!(of(&[9.0, 2.0]), Some((2.0, 5.5)));
        assert_eq!(of(&[9.0, 2.0, 1000.0]), Some((2.0, 9.0)));
        assert_eq!(of(&[4.0, 3.0, 2.0, 1.0]), Some((1.0, 2.5)));
    }
}

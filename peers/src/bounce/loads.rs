//! The load: buffers are copied in, then out.

use super::{Before, Copies, Kernel, Ours, Plain};
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};

/// Buffers of one length, and how many are copied before the first is copied again: that decides what the CPU's caches hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of a buffer, whole frames.
    pub len_bytes: u64,
    /// How many.
    pub count: usize,
}

/// Copies buffers in, and out again. Two phases: in, which is a map, and out, which is an unmap.
///
/// # Errors
/// [`PeersError::Failed`] when one does not what it should.
pub fn copies(extent: Extent, effort: Effort) -> Result<Vec<Took>, PeersError> {
    let Extent { len_bytes, count } = extent;
    let kernel = Kernel::boot()?;
    run(
        vec![
            Box::new(Ours::new(&kernel, len_bytes, count)?),
            Box::new(Plain::new(&kernel, len_bytes, count, Before::Nothing)?),
            Box::new(Plain::new(&kernel, len_bytes, count, Before::Lock)?),
        ],
        count,
        effort,
    )
}

fn run(all: Vec<Box<dyn Copies>>, count: usize, effort: Effort) -> Result<Vec<Took>, PeersError> {
    let timer = Timer::calibrated();
    let mut contestants = Vec::new();
    for mut copies in all {
        let peer = copies.peer();
        check(copies.as_mut())?;
        let mut pass = move || {
            let (mut copied_in, mut copied_out) = (false, false);
            let in_ns = timer.time(|| copied_in = copies.copy_in());
            let out_ns = timer.time(|| copied_out = copies.copy_out());
            match copied_in && copied_out {
                true => Ok([in_ns, out_ns]),
                false => Err(PeersError::failed(peer, "copy")),
            }
        };
        pass()?;
        let [in_ns, out_ns] = pass()?;
        let passes = (effort.sample_ns as f64 / (in_ns + out_ns).max(1.0)).max(1.0) as usize;
        let sample = move || {
            // What another contestant left in the CPU's caches goes, and what this one uses comes.
            pass()?;
            let mut all = [0.0; 2];
            for _ in 0..passes {
                let took = pass()?;
                all.iter_mut().zip(took).for_each(|(sum, ns)| *sum += ns);
            }
            Ok(all.map(|ns| ns / (passes * count) as f64).to_vec())
        };
        contestants.push(Contestant {
            peer,
            sample: Box::new(sample),
        });
    }
    measure(contestants, effort)
}

/// Whether bytes arrive, before anything is timed.
fn check(copies: &mut dyn Copies) -> Result<(), PeersError> {
    let peer = copies.peer();
    copies.fill(0x11);
    if !copies.copy_in() || !copies.copy_out() {
        return Err(PeersError::failed(peer, "copy"));
    }
    if !copies.holds(0x11) {
        return Err(PeersError::failed(peer, "keep what nobody wrote"));
    }
    let _ = copies.copy_in();
    copies.overwrite(0x22);
    let _ = copies.copy_out();
    match copies.holds(0x22) {
        true => Ok(()),
        false => Err(PeersError::failed(peer, "copy back what a device wrote")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort {
        warm_up: 0,
        rounds: 2,
        sample_ns: 1,
    };

    #[test]
    fn all_copy_in_and_out() {
        let extent = Extent {
            len_bytes: 4096,
            count: 3,
        };
        let took = copies(extent, EFFORT).unwrap();
        let peers: Vec<_> = took.iter().map(|took| took.peer).collect();
        assert_eq!(peers, ["dmamap", "memcpy", "memcpy, one lock"]);
        assert!(took.iter().all(|took| took.phases.len() == 2));
    }

    /// Copies nothing.
    struct Idle(u8);

    impl Copies for Idle {
        fn peer(&self) -> &'static str {
            "idle"
        }

        fn copy_in(&mut self) -> bool {
            true
        }

        fn copy_out(&mut self) -> bool {
            true
        }

        fn fill(&mut self, value: u8) {
            self.0 = value;
        }

        fn overwrite(&mut self, _value: u8) {}

        fn holds(&self, value: u8) -> bool {
            self.0 == value
        }
    }

    #[test]
    fn one_that_copies_nothing_is_noticed() {
        let error = run(vec![Box::new(Idle(0))], 1, EFFORT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "idle could not copy back what a device wrote"
        );
    }
}

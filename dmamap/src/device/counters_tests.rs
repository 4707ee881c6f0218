//! The sum that says whether a device's core may be freed, read while other CPUs count.

use super::*;

/// The handle is gone. One mapping lives at every moment: again and again another begins while it lives, and then it ends,
/// each on the CPU that `cpus` has next, while somebody sums.
fn seen_while_handed_on(cpus: &[usize], end: fn(&Share) -> &AtomicU64, from: usize) -> u64 {
    let shares = [Share::default(), Share::default(), Share::default()];
    shares[cpus[0]].begun.fetch_add(1, Ordering::Relaxed);
    let mut looks = 0;
    let counts = live_of(&shares, || {
        looks += 1;
        if looks > from {
            for pair in cpus[1..].chunks_exact(2) {
                shares[pair[0]].begun.fetch_add(1, Ordering::Relaxed);
                end(&shares[pair[1]]).fetch_add(1, Ordering::Release);
            }
        }
    });
    assert_eq!(looks, 9, "each share is looked at once for each sum");
    counts.live()
}

#[test]
fn a_device_that_is_never_without_a_mapping_is_never_seen_without() {
    let ends: [fn(&Share) -> &AtomicU64; 2] = [|share| &share.unmapped, |share| &share.withdrawn];
    for end in ends {
        for from in 0..9 {
            // Which CPU the first began on, then where the next begins and where the one before ends.
            for code in 0..243 {
                let cpus = [
                    code % 3,
                    code / 3 % 3,
                    code / 9 % 3,
                    code / 27 % 3,
                    code / 81,
                ];
                assert_ne!(
                    seen_while_handed_on(&cpus, end, from),
                    0,
                    "CPUs {cpus:?}, from look {from} on"
                );
            }
        }
    }
}

#[test]
fn ends_on_other_cpus_add_up() {
    let shares = [Share::default(), Share::default()];
    shares[0].begun.fetch_add(3, Ordering::Relaxed);
    shares[1].unmapped.fetch_add(1, Ordering::Release);
    shares[1].withdrawn.fetch_add(1, Ordering::Release);
    assert_eq!(live_of(&shares, || {}).live(), 1);
    shares[1].unmapped.fetch_add(1, Ordering::Release);
    let counts = live_of(&shares, || {});
    assert_eq!((counts.live(), counts.unmapped, counts.begun), (0, 2, 3));
}

//! Settings for few runs that show much: every value of every setting meets every value of every other one.

use std::collections::BTreeSet;

use crate::files::Dice;

/// How many runs are thought up for one that is made.
const CANDIDATES: usize = 64;

/// A value of one setting and a value of a later one: `((setting, value), (setting, value))`.
type Pair = ((usize, usize), (usize, usize));

/// Runs, as the index of each setting's value, such that every pair of values occurs in one of them, unless no
/// run that is `possible` has it. `counts` says how many values each setting has.
pub(crate) fn pairwise(counts: &[usize], possible: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
    let mut dice = Dice(1);
    let mut missing = all_pairs(counts);
    let mut runs = Vec::new();
    while let Some(&pair) = missing.first() {
        let ((i, a), (j, b)) = pair;
        let candidates = (0..CANDIDATES).map(|_| {
            let mut run: Vec<usize> = counts.iter().map(|&count| dice.below(count)).collect();
            (run[i], run[j]) = (a, b);
            run
        });
        let gain = |run: &Vec<usize>| pairs_of(run).filter(|pair| missing.contains(pair)).count();
        match candidates.filter(|run| possible(run)).max_by_key(gain) {
            Some(run) => {
                pairs_of(&run).for_each(|pair| {
                    missing.remove(&pair);
                });
                runs.push(run);
            }
            None => {
                missing.remove(&pair);
            }
        }
    }
    runs
}

fn all_pairs(counts: &[usize]) -> BTreeSet<Pair> {
    let values = |i: usize| (0..counts[i]).map(move |value| (i, value));
    let settings = (0..counts.len()).flat_map(|i| (i + 1..counts.len()).map(move |j| (i, j)));
    settings
        .flat_map(|(i, j)| values(i).flat_map(move |a| values(j).map(move |b| (a, b))))
        .collect()
}

fn pairs_of(run: &[usize]) -> impl Iterator<Item = Pair> {
    let values = || run.iter().copied().enumerate();
    values().flat_map(move |a| values().skip(a.0 + 1).map(move |b| (a, b)))
}

#[test]
fn every_possible_pair_occurs_and_nothing_impossible() {
    let counts = [3, 2, 4, 2];
    let possible = |run: &[usize]| !(run[0] == 1 && run[2] == 3);
    let runs = pairwise(&counts, possible);
    assert!(runs.iter().all(|run| possible(run)));
    let found: BTreeSet<Pair> = runs.iter().flat_map(|run| pairs_of(run)).collect();
    let mut wanted = all_pairs(&counts);
    wanted.remove(&((0, 1), (2, 3)));
    assert_eq!(found, wanted);
    assert!(runs.len() < 3 * 2 * 4 * 2 / 2, "{}", runs.len());
}

//! The mutations, by what they break.
//!
//! - [`unmapping`]: clear, invalidate, wait, and only then reuse
//! - [`deferred`]: unmaps that share a flush
//! - [`tables`]: what a unit walks is whole and visible before it is led there
//! - [`scopes`]: every unit and every device that firmware names
//! - [`groups`]: who shares a domain, and who reaches whom without an IOMMU
//! - [`checks`]: what is found out before anything is mapped
//! - [`failures`]: what a call that fails gives back
//! - [`mapping`]: where a mapping may lie, what it allows, and how it ends
//! - [`bounce`]: copies: what a device sees of them, and what comes back
//! - [`coherent`]: memory that both sides share, its pools, and the order of handing over
//! - [`caches`]: caches that devices do not snoop
//! - [`limits`]: what a device can take, in one step or two
//! - [`modes`]: units that remember absence, or see stores late
//! - [`registers`]: buses, BARs, claims and interrupts
//! - [`amd`]: AMD-Vi's tables, commands and log
//! - [`disk`]: the NVMe driver's half of the protocol
//! - [`life`]: devices that are reset, go, or sleep
//! - [`hot`]: blocks of bus addresses that are at hand
//! - [`interleaved`]: what CPUs do without a lock, in the order in which it shows
//! - [`lanes`]: what CPUs choose, map and retire on their own
//! - [`owners`]: the same of lanes that drivers have
//! - [`scarce`]: bus addresses where they are scarce
//! - [`told`]: units that are told of mappings by requests
//! - [`virtio`]: what stands between virtio-drivers and its devices
//! - [`types`]: what keeps misuse from compiling
//! - [`waits`]: what units are asked, and how often they are waited for
//! - [`ways`]: the way to memory that was asked for, and no other
//! - [`measured`]: what `dmamap bench` says was measured, and what is
//! - [`ground`]: what the tests themselves stand on

mod amd;
mod bounce;
mod caches;
mod checks;
mod coherent;
mod deferred;
mod disk;
mod failures;
mod ground;
mod groups;
mod hot;
mod interleaved;
mod lanes;
mod life;
mod limits;
mod mapping;
mod measured;
mod modes;
mod owners;
mod registers;
mod scarce;
mod scopes;
mod tables;
mod told;
mod types;
mod unmapping;
mod virtio;
mod waits;
mod ways;

use super::mutation::Mutation;

/// Every mutation.
pub(super) fn catalogue() -> impl Iterator<Item = &'static Mutation> {
    [
        unmapping::ALL,
        deferred::ALL,
        tables::ALL,
        scopes::ALL,
        groups::ALL,
        checks::ALL,
        failures::ALL,
        mapping::ALL,
        limits::ALL,
        bounce::ALL,
        coherent::ALL,
        caches::ALL,
        modes::ALL,
        registers::ALL,
        amd::ALL,
        disk::ALL,
        life::ALL,
        hot::ALL,
        interleaved::ALL,
        lanes::ALL,
        owners::ALL,
        scarce::ALL,
        told::ALL,
        virtio::ALL,
        types::ALL,
        ways::ALL,
        waits::ALL,
        measured::ALL,
        ground::ALL,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use super::super::edit;
    use super::super::mutation::{Target, Test};
    use super::*;

    #[test]
    fn every_mutation_applies_to_the_source_as_it_is() {
        let mut moved = Vec::new();
        for mutation in catalogue() {
            let source = fs::read_to_string(crate::cargo::root().join(mutation.file));
            match source.map(|source| edit::apply(mutation, &source)) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => moved.push(error),
                Err(error) => moved.push(format!("{}: {error}", mutation.file)),
            }
        }
        assert!(moved.is_empty(), "{}", moved.join("\n"));
    }

    #[test]
    fn every_mutation_has_a_name_of_its_own_and_a_test() {
        let mut names = HashSet::new();
        for mutation in catalogue() {
            assert!(
                names.insert(mutation.name),
                "two mutations are called {}",
                mutation.name
            );
            assert!(!mutation.caught_by.is_empty(), "{}", mutation.name);
        }
    }

    #[test]
    fn every_named_test_is_there() {
        for mutation in catalogue() {
            for test in mutation.caught_by {
                assert!(is_there(test), "{}: there is no test {test}", mutation.name);
            }
        }
    }

    /// What a row of the document says breaks it is caught by a test that the row names.
    #[test]
    fn a_mutation_of_docs_parity_is_caught_by_a_test_of_its_row() {
        let parity = crate::cargo::root().join("docs/parity.md");
        let parity = fs::read_to_string(parity).expect("the document is there");
        let mut elsewhere = Vec::new();
        for row in parity.lines() {
            let Some((tests, mutations)) = row.split_once("; broken by ") else {
                continue;
            };
            for name in mutations.split('*').skip(1).step_by(2) {
                let mutation = catalogue().find(|one| one.name == name);
                let caught_by = mutation.map_or(&[][..], |one| one.caught_by);
                if !caught_by.iter().any(|test| names(tests, test)) {
                    let id = row.split(' ').nth(1).unwrap_or_default();
                    elsewhere.push(format!("{id}: {name} is caught by {caught_by:?}"));
                }
            }
        }
        assert!(elsewhere.is_empty(), "{}", elsewhere.join("\n"));
    }

    /// Whether `row` names the test, or the one that tries all cases of misuse.
    fn names(row: &str, test: &Test) -> bool {
        let function = test.name.rsplit("::").next().unwrap_or(test.name);
        match test.target {
            Target::CompileFail => {
                let case = format!("{}/tests/compile_fail/{function}.rs`", test.package);
                row.contains(&case) || row.contains("::misuse_does_not_compile`")
            }
            Target::Library | Target::Program(_) => row.contains(&format!("::{function}`")),
        }
    }

    /// Whether the test's program has a function of that name.
    fn is_there(test: &Test) -> bool {
        let package = crate::cargo::root().join(test.package);
        let places = match test.target {
            Target::CompileFail => {
                let case = format!("tests/compile_fail/{}.rs", test.name);
                return package.join(case).exists();
            }
            Target::Library => vec![package.join("src")],
            Target::Program(program) => {
                let tests = package.join("tests");
                vec![tests.join(program), tests.join(format!("{program}.rs"))]
            }
        };
        let function = test.name.rsplit("::").next().unwrap_or(test.name);
        places
            .iter()
            .any(|place| mentions(place, &format!("fn {function}")))
    }

    fn mentions(place: &std::path::Path, text: &str) -> bool {
        if let Ok(entries) = fs::read_dir(place) {
            return entries.flatten().any(|entry| mentions(&entry.path(), text));
        }
        fs::read_to_string(place).is_ok_and(|source| source.contains(text))
    }
}

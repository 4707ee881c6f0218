//! What CPUs do without a lock, in every order in which they can come: loom makes them all.
//!
//! The source is the one that runs, compiled a second time with atomics of loom's: files that say `super::sync` find
//! `sync` here instead of the crate's. Models stand beside it: of [`percpu`] in `stops`, of lanes in their own folder.

use loom::model::Builder;

pub(crate) mod machine;
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "../percpu.rs"]
pub(crate) mod percpu;
mod stops;
pub(crate) mod sync;

/// Runs a model in every order, but that loom takes the CPU away at most so many times where nobody waits.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

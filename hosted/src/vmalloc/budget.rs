//! How many mappings of the host this process may still make.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left to everything else in the process: libraries, thread stacks, the heap, RAM itself.
const HEADROOM: usize = 4096;

/// Linux's default for `vm.max_map_count`.
const DEFAULT_LIMIT: usize = 65_530;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Some of the host's mappings; they go back when this is dropped.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// Takes `mappings`, if the process may make as many.
    pub(super) fn take(mappings: usize) -> Option<Self> {
        let within = |taken: usize| {
            taken
                .checked_add(mappings)
                .filter(|taken| *taken <= limit())
        };
        TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .ok()
            .map(|_| Self(mappings))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How many mappings all kernels of this process may have at once.
pub(super) fn limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let told = std::fs::read_to_string("/proc/sys/vm/max_map_count");
        let limit = told
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(DEFAULT_LIMIT);
        limit.saturating_sub(HEADROOM)
    })
}

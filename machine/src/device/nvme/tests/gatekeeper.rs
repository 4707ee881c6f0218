//! What stands around the controller: a unit that blocks what a test forbids, and a sink of messages.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use board::hardware::{InterruptSink, Width};
use parking_lot::Mutex;

use super::{MESSAGE, PAGE};
use crate::audit::Audit;
use crate::bus::Access;
use crate::iommu::Unit;
use crate::iommu::translator::{InFlight, TranslationFault, Translator};

/// Lets everything pass but what a test forbids.
#[derive(Default)]
pub(super) struct Gatekeeper {
    /// Pages and accesses refused.
    pub(super) forbidden: Mutex<HashSet<(u64, bool)>>,
    /// If set, only these pages pass, with these accesses.
    pub(super) allowed: Mutex<Option<HashSet<(u64, bool)>>>,
}

impl Gatekeeper {
    pub(super) fn forbid(&self, bus: u64, access: Access) {
        self.forbidden
            .lock()
            .insert((bus / PAGE, access == Access::Write));
    }
}

impl Translator for Gatekeeper {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        let key = (bus / PAGE, access == Access::Write);
        let passes = self
            .allowed
            .lock()
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&key));
        if !passes || self.forbidden.lock().contains(&key) {
            return Err(TranslationFault {
                requester,
                bus,
                reason: 5,
            });
        }
        Ok(InFlight::untranslated(bus, None))
    }
}

impl Unit for Gatekeeper {
    fn power_cycle(&self) {}

    fn read_register(&self, _: u64, width: Width) -> u64 {
        width.ones()
    }
    fn write_register(&self, _: u64, _: Width, _: u64) {}
    fn frames_freed(&self, _: u64, _: u64) {}
    fn audit(&self, _: &mut Audit) {}
}

/// Counts messages by vector.
#[derive(Default)]
pub(super) struct Messages(pub(super) [AtomicU64; 16]);

impl InterruptSink for Messages {
    fn deliver(&self, _: u64, data: u32) {
        self.0[(data - MESSAGE) as usize].fetch_add(1, Ordering::SeqCst);
    }
}

//! One request of a device: its domain, the mapping, and the report of what was blocked.

use hw::virtio::iommu::fault::{Fault, FaultFlags, FaultReason};

use super::core::Core;
use super::domains::{Mapping, Way};
use super::event::Reported;
use super::queue::Broken;
use crate::bus::Access;
use crate::iommu::translator::{InFlight, TranslationFault};

impl Mapping {
    fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => self.flags.read(),
            Access::Write => self.flags.write(),
        }
    }
}

impl Core {
    pub(super) fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        // In flight from before the first look, so that whoever takes a mapping away waits for us.
        let guard = self.in_flight.enter();
        self.counters.translations.add_one();
        let reserved = self
            .config
            .reserved_for(requester)
            .any(|reserved| reserved.addresses.contains(&bus));
        if reserved {
            return Ok(InFlight::untranslated(bus, Some(guard)));
        }
        let way = self.domains.read().way(self.endpoint(requester), bus);
        let reason = match way {
            Way::Bypass => return Ok(InFlight::untranslated(bus, Some(guard))),
            Way::Mapped(mapping) if mapping.allows(access) => {
                let phys = mapping.phys + (bus - mapping.first);
                return Ok(InFlight::translated(phys, guard));
            }
            Way::Mapped(_) | Way::Unmapped => FaultReason::Mapping,
            Way::NoDomain if self.front.lock().registers.unattached_pass() => {
                return Ok(InFlight::untranslated(bus, Some(guard)));
            }
            Way::NoDomain => FaultReason::Domain,
        };
        drop(guard);
        self.report(requester, bus, access, reason);
        Err(TranslationFault {
            requester,
            bus,
            reason: reason.code().into(),
        })
    }

    /// The endpoint id of a requester.
    pub(super) fn endpoint(&self, requester: u16) -> u32 {
        self.config.first_endpoint + u32::from(requester)
    }

    /// The requester of an endpoint that is known to be one.
    pub(super) fn requester(&self, endpoint: u32) -> u16 {
        (endpoint - self.config.first_endpoint) as u16
    }

    fn report(&self, requester: u16, bus: u64, access: Access, reason: FaultReason) {
        self.counters.faults.add_one();
        let fault = Fault {
            reason: reason.code(),
            flags: FaultFlags::new()
                .with_read(access == Access::Read)
                .with_write(access == Access::Write)
                .with_address(true),
            endpoint: self.endpoint(requester),
            address: bus,
        };
        let front = &mut *self.front.lock();
        let running = front.registers.is_running();
        let reported = match front.events.as_mut().filter(|_| running) {
            Some(events) => events.report(fault, &self.reporter),
            None => Ok(Reported::Lost),
        };
        match reported {
            Ok(Reported::Written { interrupt }) => {
                self.counters.faults_reported.add_one();
                if interrupt {
                    front.registers.interrupts.set_used_buffer(true);
                }
            }
            Ok(Reported::Lost) => self.counters.faults_lost.add_one(),
            Err(Broken) => {
                self.counters.faults_lost.add_one();
                front.registers.need_reset();
            }
        }
    }
}

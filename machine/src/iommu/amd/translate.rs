//! One request: device table entry, cached translation, walk, permissions, and the event of what was blocked.

use super::cache::Page;
use super::core::Core;
use super::entries::{Cause, DeviceEntry, Logging, Route, TableAt};
use super::geometry::size_log2;
use super::walk::{EntryFault, WalkEnd, is_beyond};
use crate::bus::Access;
use crate::cache::POISON;
use crate::findings::FindingKind;
use crate::iommu::grant::Grant;
use crate::iommu::translator::{InFlight, TranslationFault};

/// One page of a device's request.
#[derive(Clone, Copy, Debug)]
struct Request {
    device: u16,
    bus: u64,
    access: Access,
}

/// Why it does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    cause: Cause,
    domain: u16,
    logging: Logging,
    /// What the event names, where it is not the bus address.
    phys: Option<u64>,
}

impl Blocked {
    fn new(entry: DeviceEntry, cause: Cause) -> Self {
        Self {
            cause,
            domain: entry.domain,
            logging: entry.logging,
            phys: None,
        }
    }
}

/// Addresses that HyperTransport keeps for itself (section 2.1.2): requests there are no accesses to memory.
const SPECIAL: std::ops::Range<u64> = 0xfd_0000_0000..0x100_0000_0000;

impl Core {
    pub(super) fn translate(
        &self,
        device: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        // In flight from before the first look, so that whoever invalidates and waits, waits for us.
        let guard = self.in_flight.enter();
        if !self.live.is_translating() {
            return Ok(InFlight::untranslated(bus, Some(guard)));
        }
        self.counters.translations.add_one();
        let request = Request {
            device,
            bus,
            access,
        };
        let result = match self.look_up(request) {
            Some(result) => result,
            None => self.walk(request),
        };
        match result {
            Ok(phys) => Ok(InFlight::translated(phys, guard)),
            Err(blocked) => {
                drop(guard);
                self.record(request, blocked);
                Err(TranslationFault {
                    requester: device,
                    bus,
                    reason: blocked.cause.event().event_code().into(),
                })
            }
        }
    }

    /// The answer of the caches, if they have one.
    fn look_up(&self, request: Request) -> Option<Result<u64, Blocked>> {
        let caches = self.caches.read();
        let entry = caches.device(request.device)?;
        if let Some(answer) = self.without_table(request, entry) {
            return Some(answer);
        }
        let (page, size_log2) = caches.page(entry.domain, request.bus)?;
        self.counters.hits.add_one();
        Some(answer(request, entry, page, size_log2))
    }

    /// The answer that needs no page table, if there is one.
    fn without_table(&self, request: Request, entry: DeviceEntry) -> Option<Result<u64, Blocked>> {
        let Request { bus, access, .. } = request;
        let blocked = |cause| Some(Err(Blocked::new(entry, cause)));
        if entry.route == Route::Open {
            return Some(Ok(bus));
        }
        if SPECIAL.contains(&bus) {
            return blocked(Cause::INVALID_REQUEST);
        }
        if self.live.excludes(bus, entry.excluded) {
            return Some(Ok(bus));
        }
        match entry.route {
            Route::Nowhere => blocked(Cause::NOT_PRESENT),
            Route::Untranslated if !entry.grant.allows(access) => blocked(Cause::NOT_PERMITTED),
            Route::Untranslated | Route::Open => Some(Ok(bus)),
            Route::Table { levels, .. } if is_beyond(bus, levels) => blocked(Cause::NOT_PRESENT),
            Route::Table { .. } => None,
        }
    }

    /// Walks, and lets the caches remember. No invalidation comes in between: it waits for the lock.
    fn walk(&self, request: Request) -> Result<u64, Blocked> {
        let mut caches = self.caches.write();
        let entry = match caches.device(request.device) {
            Some(entry) => entry,
            None => {
                let entry = self.read_entry(request)?;
                if let Some(other) = caches.insert_device(request.device, entry) {
                    self.reporter.report(
                        FindingKind::ProtocolViolation,
                        format!(
                            "domain id {:#x} leads devices {:#06x} and {other:#06x} to different tables",
                            entry.domain, request.device
                        ),
                    );
                }
                entry
            }
        };
        if let Some(answer) = self.without_table(request, entry) {
            return answer;
        }
        let Route::Table { table, levels } = entry.route else {
            return Ok(request.bus);
        };
        let (domain, bus) = (entry.domain, request.bus);
        // Another device of the domain may have filled it while we waited for the lock.
        if let Some((page, size_log2)) = caches.page(domain, bus) {
            self.counters.hits.add_one();
            return answer(request, entry, page, size_log2);
        }
        let start = caches.table(domain, bus).unwrap_or(TableAt {
            phys: table,
            level: levels,
            grant: Grant::ALL,
        });
        self.counters.walks.add_one();
        let end = self.rules.page(&self.tables, start, bus, |table| {
            caches.insert_table(domain, bus, size_log2(table.level + 1), table);
        });
        let blocked = |cause| Blocked::new(entry, cause);
        match end {
            WalkEnd::Leaf {
                phys,
                size_log2,
                grant,
            } => {
                let page = Page { phys, grant };
                caches.insert_page(domain, bus, size_log2, page);
                answer(request, entry, page, size_log2)
            }
            WalkEnd::NotPresent => Err(blocked(Cause::NOT_PRESENT)),
            WalkEnd::Unreachable(at) => {
                self.report_malformed(request, Cause::TABLE_UNREACHABLE, &[at]);
                Err(Blocked {
                    phys: Some(at),
                    ..blocked(Cause::TABLE_UNREACHABLE)
                })
            }
            WalkEnd::Malformed { cause, entry: word } => {
                self.report_malformed(request, cause, &[word]);
                Err(blocked(cause))
            }
        }
    }

    fn read_entry(&self, request: Request) -> Result<DeviceEntry, Blocked> {
        self.live.note(request.device);
        let table = self.live.device_table();
        let found = self
            .rules
            .device(&self.tables, table, request.device, &self.dice);
        found.map_err(|fault| {
            let EntryFault { cause, phys, words } = fault;
            self.report_malformed(request, cause, &words);
            Blocked {
                cause,
                domain: 0,
                logging: Logging::All,
                phys: (cause == Cause::ENTRY_UNREACHABLE).then_some(phys),
            }
        })
    }

    /// Tables that no correct driver writes are findings, beside the fault of the device.
    fn report_malformed(&self, request: Request, cause: Cause, words: &[u64]) {
        let kind = match cause {
            Cause::RESERVED | Cause::ILLEGAL_ENTRY | Cause::LEVEL | Cause::ILLEGAL_MODE => {
                if words.contains(&POISON) {
                    FindingKind::PoisonRead
                } else {
                    FindingKind::ReservedBits
                }
            }
            _ => FindingKind::ProtocolViolation,
        };
        let Request { device, bus, .. } = request;
        let event = cause.event();
        self.reporter.report(
            kind,
            format!(
                "{}: device {device:#06x}, bus {bus:#x}, entry {words:x?}",
                event.code().map_or("", |code| code.text())
            ),
        );
    }

    /// Logs a blocked request, unless the device's entry says not to.
    fn record(&self, request: Request, blocked: Blocked) {
        self.counters.faults.add_one();
        let silent = match blocked.logging {
            Logging::All => false,
            Logging::First => self.caches.write().note_fault(request.device),
            Logging::None => true,
        };
        if silent && blocked.cause.is_page_fault() {
            self.counters.faults_silenced.add_one();
            return;
        }
        let event = blocked
            .cause
            .event()
            .with_deviceid(request.device)
            .with_domainid(blocked.domain)
            .with_rw(request.access == Access::Write)
            .with_address(blocked.phys.unwrap_or(request.bus));
        self.log_event(event);
    }
}

fn answer(
    request: Request,
    entry: DeviceEntry,
    page: Page,
    size_log2: u32,
) -> Result<u64, Blocked> {
    let grant = page.grant.and(entry.grant.read, entry.grant.write);
    if !grant.allows(request.access) {
        return Err(Blocked::new(entry, Cause::NOT_PERMITTED));
    }
    Ok(page.phys + (request.bus & ((1 << size_log2) - 1)))
}

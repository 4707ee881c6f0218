//! One request: context, IOTLB, walk, permissions, and the record of what was blocked (3.4 to 3.7, 7.1).

use hw::vtd::fault::{FaultReason, FaultRecord, Qualification, RequestType};
use hw::vtd::second_stage::size_log2;

use super::cache::{CachedPage, CachedTable, Caches};
use super::core::Core;
use super::entries::{Context, ContextFault, Route, TableAt};
use super::fault::Logged;
use super::walk::WalkEnd;
use crate::bus::Access;
use crate::cache::POISON;
use crate::findings::FindingKind;
use crate::iommu::grant::Grant;
use crate::iommu::translator::{InFlight, TranslationFault};

/// One page of a device's request.
#[derive(Clone, Copy, Debug)]
struct Request {
    requester: u16,
    bus: u64,
    access: Access,
}

/// Why it does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    reason: FaultReason,
    /// The context entry says not to record it.
    silent: bool,
}

const PAGE_OFFSET: u64 = 0xfff;

impl Request {
    /// What a walk that found nothing gives: the reasons tell the request, not the entry.
    fn not_permitted(self) -> FaultReason {
        match self.access {
            Access::Read => FaultReason::ReadNotPermitted,
            Access::Write => FaultReason::WriteNotPermitted,
        }
    }

    fn check(self, grant: Grant) -> Result<(), FaultReason> {
        grant
            .allows(self.access)
            .then_some(())
            .ok_or(self.not_permitted())
    }
}

impl Core {
    pub(super) fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        // In flight from before the first look, so that whoever invalidates and drains waits for us.
        let guard = self.in_flight.enter(access);
        if !self.live.is_translating() {
            return Ok(InFlight::untranslated(bus, Some(guard)));
        }
        self.counters.translations.add_one();
        let request = Request {
            requester,
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
                    requester,
                    bus,
                    reason: blocked.reason.code().into(),
                })
            }
        }
    }

    /// The answer of the caches, if they have one.
    fn look_up(&self, request: Request) -> Option<Result<u64, Blocked>> {
        let caches = self.caches.read();
        let context = caches.context(request.requester)?.ok()?;
        let Route::Table { levels, .. } = context.route else {
            return None;
        };
        if request.bus >> self.rules.width_of(levels) != 0 {
            return None;
        }
        let (page, size_log2) = caches.page(context.did, request.bus)?;
        self.counters.hits.add_one();
        Some(self.answer(request, context, page, size_log2))
    }

    fn answer(
        &self,
        request: Request,
        context: Context,
        page: CachedPage,
        size_log2: u32,
    ) -> Result<u64, Blocked> {
        let blocked = |reason| Blocked {
            reason,
            silent: context.silent,
        };
        match page {
            CachedPage::Page { phys, grant } => {
                request.check(grant).map_err(blocked)?;
                let offset = request.bus & ((1 << size_log2) - 1);
                Ok(phys + offset)
            }
            CachedPage::NotPresent => Err(blocked(request.not_permitted())),
            CachedPage::Malformed(reason) => Err(blocked(reason)),
        }
    }

    /// Walks, and lets the caches remember. No invalidation comes in between: it waits for the lock.
    fn walk(&self, request: Request) -> Result<u64, Blocked> {
        let mut caches = self.caches.write();
        let context = self.context(&mut caches, request.requester)?;
        let blocked = |reason| Blocked {
            reason,
            silent: context.silent,
        };
        let Route::Table { table, levels } = context.route else {
            return Ok(request.bus);
        };
        if request.bus >> self.rules.width_of(levels) != 0 {
            return Err(blocked(FaultReason::AddressBeyondWidth));
        }
        let did = context.did;
        // Another requester of the domain may have filled it while we waited for the lock.
        if let Some((page, size_log2)) = caches.page(did, request.bus) {
            self.counters.hits.add_one();
            return self.answer(request, context, page, size_log2);
        }
        let start = match caches.table(did, request.bus) {
            Some(CachedTable::Table(table)) => table,
            Some(CachedTable::NotPresent) => return Err(blocked(request.not_permitted())),
            Some(CachedTable::Malformed(reason)) => return Err(blocked(reason)),
            None => TableAt {
                phys: table,
                level: levels,
                grant: Grant::ALL,
            },
        };
        self.counters.walks.add_one();
        let end = self
            .rules
            .second_stage(&self.tables, levels, start, request.bus, |table| {
                caches.insert_table(did, request.bus, table.level + 1, CachedTable::Table(table));
            });
        match end {
            WalkEnd::Leaf { phys, level, grant } => {
                let page = CachedPage::Page { phys, grant };
                caches.insert_page(did, request.bus, level, page);
                self.answer(request, context, page, size_log2(level))
            }
            WalkEnd::NotPresent { level } => {
                self.remember_absence(&mut caches, did, request.bus, level, None);
                Err(blocked(request.not_permitted()))
            }
            WalkEnd::Malformed {
                level,
                reason,
                entry,
            } => {
                self.remember_absence(&mut caches, did, request.bus, level, Some(reason));
                drop(caches);
                self.report_malformed(request, reason, [entry, 0]);
                Err(blocked(reason))
            }
        }
    }

    /// With caching mode, what is not there is remembered as well (6.1): where a leaf could be, as a leaf.
    fn remember_absence(
        &self,
        caches: &mut Caches,
        did: u16,
        bus: u64,
        level: u32,
        malformed: Option<FaultReason>,
    ) {
        if !self.rules.caches_absence() {
            return;
        }
        if self.rules.may_be_leaf(level) {
            let page = malformed.map_or(CachedPage::NotPresent, CachedPage::Malformed);
            caches.insert_page(did, bus, level, page);
        } else {
            let table = malformed.map_or(CachedTable::NotPresent, CachedTable::Malformed);
            caches.insert_table(did, bus, level, table);
        }
    }

    fn context(&self, caches: &mut Caches, requester: u16) -> Result<Context, Blocked> {
        let blocked = |fault: ContextFault| Blocked {
            reason: fault.reason,
            silent: fault.silent,
        };
        if let Some(cached) = caches.context(requester) {
            return cached.map_err(blocked);
        }
        let found = self
            .rules
            .context(&self.tables, self.live.root_table(), requester);
        if found.is_ok() || self.rules.caches_absence() {
            let conflict = caches.insert_context(requester, found);
            if let (Some(other), Ok(context)) = (conflict, found) {
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!(
                        "domain id {:#x} leads requesters {requester:#06x} and {other:#06x} to \
                         different tables",
                        context.did
                    ),
                );
            }
        }
        match found {
            Ok(context) if context.did == 0 && self.rules.caches_absence() => {
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!(
                        "requester {requester:#06x} has domain id 0, reserved with caching mode"
                    ),
                );
            }
            Ok(_) => {}
            Err(fault) => {
                let request = Request {
                    requester,
                    bus: 0,
                    access: Access::Read,
                };
                self.report_malformed(request, fault.reason, fault.entry);
            }
        }
        found.map_err(blocked)
    }

    /// Tables that no correct driver writes are findings, beside the fault of the device.
    fn report_malformed(&self, request: Request, reason: FaultReason, [low, high]: [u64; 2]) {
        let kind = match reason {
            FaultReason::RootReserved
            | FaultReason::ContextReserved
            | FaultReason::PageTableReserved => {
                if low == POISON {
                    FindingKind::PoisonRead
                } else {
                    FindingKind::ReservedBits
                }
            }
            FaultReason::ContextInvalid
            | FaultReason::PageTableUnreachable
            | FaultReason::RootTableUnreachable
            | FaultReason::ContextTableUnreachable => FindingKind::ProtocolViolation,
            _ => return,
        };
        let Request { requester, bus, .. } = request;
        self.reporter.report(
            kind,
            format!("{reason}: requester {requester:#06x}, bus {bus:#x}, entry {low:#x} {high:#x}"),
        );
    }

    /// Logs a blocked request in the fault recording registers.
    fn record(&self, request: Request, blocked: Blocked) {
        self.counters.faults.add_one();
        if blocked.silent && blocked.reason.qualification() == Qualification::Qualified {
            self.counters.faults_silenced.add_one();
            return;
        }
        let wanted = match request.access {
            Access::Read => RequestType::Read,
            Access::Write => RequestType::Write,
        };
        let record = FaultRecord::new()
            .with_fi(request.bus & !PAGE_OFFSET)
            .with_sid(request.requester)
            .with_fr(blocked.reason.code())
            .with_request_type(wanted);
        match self.registers.lock().faults.log(record) {
            Logged::Recorded => self.counters.faults_recorded.add_one(),
            Logged::Collapsed => self.counters.faults_collapsed.add_one(),
            Logged::Lost => self.counters.faults_lost.add_one(),
        }
    }
}

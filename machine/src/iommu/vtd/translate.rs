//! One request: context, IOTLB, walk, permissions, and the record of what was blocked (3.4 to 3.7, 7.1).

use hw::vtd::fault::{FaultReason, FaultRecord, Qualification, RequestType};
use hw::vtd::second_stage::size_log2;

use super::cache::{CachedPage, CachedTable, Caches};
use super::core::Core;
use super::entries::{Context, Route, TableAt, Tag};
use super::fault::Logged;
use super::stage::Stage;
use super::walk::WalkEnd;
use crate::bus::Access;
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
pub(super) struct Blocked {
    pub(super) reason: FaultReason,
    /// The tables say not to record it.
    pub(super) silent: bool,
}

const PAGE_OFFSET: u64 = 0xfff;

impl Request {
    fn check(self, grant: Grant, stage: Stage) -> Result<(), FaultReason> {
        grant
            .allows(self.access)
            .then_some(())
            .ok_or(stage.not_permitted(self.access))
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
        let context = self.remembered_context(&caches, request.requester)?;
        let Route::Table { levels, stage, .. } = context.route else {
            return None;
        };
        if !self.rules.translates(stage, levels, request.bus) {
            return None;
        }
        let (page, size_log2) = caches.page(context.tag, request.bus)?;
        self.counters.hits.add_one();
        Some(self.answer(request, (context, stage), page, size_log2))
    }

    fn answer(
        &self,
        request: Request,
        (context, stage): (Context, Stage),
        page: CachedPage,
        size_log2: u32,
    ) -> Result<u64, Blocked> {
        let blocked = |reason| Blocked {
            reason,
            silent: context.silent,
        };
        match page {
            CachedPage::Page { phys, grant } => {
                request.check(grant, stage).map_err(blocked)?;
                let offset = request.bus & ((1 << size_log2) - 1);
                Ok(phys + offset)
            }
            CachedPage::NotPresent => Err(blocked(stage.not_present(request.access))),
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
        let Route::Table {
            table,
            levels,
            stage,
        } = context.route
        else {
            return Ok(request.bus);
        };
        if !self.rules.translates(stage, levels, request.bus) {
            return Err(blocked(stage.beyond_width()));
        }
        let tag = context.tag;
        // Another requester of the domain may have filled it while we waited for the lock.
        if let Some((page, size_log2)) = caches.page(tag, request.bus) {
            self.counters.hits.add_one();
            return self.answer(request, (context, stage), page, size_log2);
        }
        let start = match caches.table(tag, request.bus) {
            Some(CachedTable::Table(table)) => table,
            Some(CachedTable::NotPresent) => {
                return Err(blocked(stage.not_present(request.access)));
            }
            Some(CachedTable::Malformed(reason)) => return Err(blocked(reason)),
            None => TableAt {
                phys: table,
                level: levels,
                grant: Grant::ALL,
            },
        };
        self.counters.walks.add_one();
        let wanted = (request.bus, request.access);
        let end = self
            .rules
            .walk(&self.tables, (levels, stage), start, wanted, |table| {
                caches.insert_table(tag, request.bus, table.level + 1, CachedTable::Table(table));
            });
        match end {
            WalkEnd::Leaf {
                phys,
                level,
                grant,
                remembered,
            } => {
                let page = CachedPage::Page { phys, grant };
                if remembered {
                    caches.insert_page(tag, request.bus, level, page);
                }
                self.answer(request, (context, stage), page, size_log2(level))
            }
            WalkEnd::NotPresent { level } => {
                self.remember_absence(&mut caches, (tag, stage), request.bus, level, None);
                Err(blocked(stage.not_present(request.access)))
            }
            WalkEnd::Malformed {
                level,
                reason,
                entry,
            } => {
                self.remember_absence(&mut caches, (tag, stage), request.bus, level, Some(reason));
                drop(caches);
                self.report_malformed(request.requester, request.bus, reason, [entry, 0]);
                Err(blocked(reason))
            }
        }
    }

    /// With caching mode, what is not there is remembered as well (6.1): where a leaf could be, as a leaf.
    fn remember_absence(
        &self,
        caches: &mut Caches,
        (tag, stage): (Tag, Stage),
        bus: u64,
        level: u32,
        malformed: Option<FaultReason>,
    ) {
        if !self.rules.caches_absence() {
            return;
        }
        if self.rules.may_be_leaf(stage, level) {
            let page = malformed.map_or(CachedPage::NotPresent, CachedPage::Malformed);
            caches.insert_page(tag, bus, level, page);
        } else {
            let table = malformed.map_or(CachedTable::NotPresent, CachedTable::Malformed);
            caches.insert_table(tag, bus, level, table);
        }
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

//! One request: mode, context, translation cache, walk, permissions, and the record of what was refused (2.3).

use hw::riscv::fault::{Cause, FaultHeader, FaultRecord, TransactionType, UnderDtf};

use super::cache::{CachedPage, Caches, Tag};
use super::core::{Core, Mode};
use super::entries::{Context, ContextFault, Route, Stage, TableAt};
use super::fault::Logged;
use super::page_entry::is_translatable;
use super::walk::{Directory, WalkEnd};
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
struct Refused {
    cause: Cause,
    /// The device context says not to record such a fault.
    silent: bool,
}

/// A page table of a device.
#[derive(Clone, Copy, Debug)]
struct PageTable {
    stage: Stage,
    root: u64,
    levels: u32,
    tag: Tag,
}

impl Request {
    /// A stage grants nothing there.
    fn page_fault(self, stage: Stage) -> Cause {
        match (stage, self.access) {
            (Stage::First, Access::Read) => Cause::ReadPageFault,
            (Stage::First, Access::Write) => Cause::WritePageFault,
            (Stage::Second, Access::Read) => Cause::ReadGuestPageFault,
            (Stage::Second, Access::Write) => Cause::WriteGuestPageFault,
        }
    }

    /// No memory is there.
    fn access_fault(self) -> Cause {
        match self.access {
            Access::Read => Cause::ReadAccessFault,
            Access::Write => Cause::WriteAccessFault,
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
        // In flight from before the first look, so that whoever invalidates and drains waits for us.
        let guard = self.in_flight.enter(access);
        let request = Request {
            requester,
            bus,
            access,
        };
        let result = match self.live.mode() {
            Mode::Bare => return Ok(InFlight::untranslated(bus, Some(guard))),
            Mode::Off => Err(Refused {
                cause: Cause::InboundDisallowed,
                silent: false,
            }),
            Mode::Translating(directory) => {
                self.counters.translations.add_one();
                match self.look_up(request) {
                    Some(result) => result,
                    None => self.walk(directory, request),
                }
            }
        };
        match result {
            Ok(phys) => Ok(InFlight::translated(phys, guard)),
            Err(refused) => {
                drop(guard);
                self.record(request, refused);
                Err(TranslationFault {
                    requester,
                    bus,
                    reason: refused.cause.code(),
                })
            }
        }
    }

    /// The answer of the caches, if they have one.
    fn look_up(&self, request: Request) -> Option<Result<u64, Refused>> {
        let caches = self.caches.read();
        let context = caches.context(request.requester.into())?;
        let table = page_table(context.route)?;
        if !is_translatable(table.stage, table.levels, request.bus) {
            return None;
        }
        let (page, size_log2) = caches.page(table.tag, request.bus)?;
        self.counters.hits.add_one();
        Some(self.answer(request, context, table.stage, page, size_log2))
    }

    fn answer(
        &self,
        request: Request,
        context: Context,
        stage: Stage,
        page: CachedPage,
        size_log2: u32,
    ) -> Result<u64, Refused> {
        let refused = |cause| Refused {
            cause,
            silent: context.silent,
        };
        if !page.grant.allows(request.access) {
            return Err(refused(request.page_fault(stage)));
        }
        let phys = page.phys + (request.bus & ((1 << size_log2) - 1));
        if self.rules.is_beyond_memory(phys) {
            return Err(refused(request.access_fault()));
        }
        Ok(phys)
    }

    /// Walks, and lets the caches remember. No invalidation comes in between: it waits for the lock.
    fn walk(&self, directory: Directory, request: Request) -> Result<u64, Refused> {
        let mut caches = self.caches.write();
        let context = self.context(&mut caches, directory, request)?;
        let refused = |cause| Refused {
            cause,
            silent: context.silent,
        };
        let Some(table) = page_table(context.route) else {
            return Ok(request.bus);
        };
        let PageTable {
            stage, levels, tag, ..
        } = table;
        if !is_translatable(stage, levels, request.bus) {
            return Err(refused(request.page_fault(stage)));
        }
        // Another requester of the address space may have filled it while we waited for the lock.
        if let Some((page, size_log2)) = caches.page(tag, request.bus) {
            self.counters.hits.add_one();
            return self.answer(request, context, stage, page, size_log2);
        }
        let start = caches.table(tag, request.bus).unwrap_or(TableAt {
            phys: table.root,
            level: levels,
            grant: Grant::ALL,
            global: false,
        });
        self.counters.walks.add_one();
        let end = self
            .rules
            .page_table(&self.tables, stage, levels, start, request.bus, |table| {
                caches.insert_table(tag, request.bus, table);
            });
        match end {
            WalkEnd::Leaf {
                phys,
                size_log2,
                grant,
                global,
            } => {
                let page = CachedPage { phys, grant };
                let tag = if global { Tag::Global } else { tag };
                caches.insert_page(tag, request.bus, size_log2, page);
                self.answer(request, context, stage, page, size_log2)
            }
            WalkEnd::NotValid => Err(refused(request.page_fault(stage))),
            WalkEnd::Reserved { entry } => {
                drop(caches);
                self.report_reserved(request, "page-table entry", entry);
                Err(refused(request.page_fault(stage)))
            }
            WalkEnd::Unreachable { table } => {
                drop(caches);
                self.report_unreachable(request, "page table", table);
                Err(refused(request.access_fault()))
            }
        }
    }

    fn context(
        &self,
        caches: &mut Caches,
        directory: Directory,
        request: Request,
    ) -> Result<Context, Refused> {
        let device = request.requester.into();
        if let Some(context) = caches.context(device) {
            return Ok(context);
        }
        let found = self.rules.context(&self.tables, caches, directory, device);
        match found {
            Ok(context) => {
                if let Some(other) = caches.insert_context(device, context) {
                    self.reporter.report(
                        FindingKind::ProtocolViolation,
                        format!(
                            "one soft-context id leads devices {device:#06x} and {other:#06x} to different tables"
                        ),
                    );
                }
                Ok(context)
            }
            Err(ContextFault { cause, entry }) => {
                match cause {
                    Cause::DirectoryMisconfigured => {
                        self.report_reserved(request, "device directory", entry);
                    }
                    Cause::DirectoryUnreachable => {
                        self.report_unreachable(request, "device directory", entry);
                    }
                    _ => {}
                }
                // Without a context, DTF counts as clear (3.2).
                Err(Refused {
                    cause,
                    silent: false,
                })
            }
        }
    }

    /// Tables that no correct driver writes are findings, beside the fault of the device.
    fn report_reserved(&self, request: Request, what: &str, entry: u64) {
        let kind = if entry == POISON {
            FindingKind::PoisonRead
        } else {
            FindingKind::ReservedBits
        };
        let Request { requester, bus, .. } = request;
        self.reporter.report(
            kind,
            format!("{what}: requester {requester:#06x}, bus {bus:#x}, entry {entry:#x}"),
        );
    }

    fn report_unreachable(&self, request: Request, what: &str, table: u64) {
        let Request { requester, bus, .. } = request;
        self.reporter.report(
            FindingKind::ProtocolViolation,
            format!("{what} at {table:#x} is no memory: requester {requester:#06x}, bus {bus:#x}"),
        );
    }

    /// Puts a refused request into the fault queue.
    fn record(&self, request: Request, refused: Refused) {
        self.counters.faults.add_one();
        if refused.silent && refused.cause.under_dtf() == UnderDtf::Silent {
            self.counters.faults_silenced.add_one();
            return;
        }
        let wanted = match request.access {
            Access::Read => TransactionType::UntranslatedRead,
            Access::Write => TransactionType::UntranslatedWrite,
        };
        let guest = matches!(
            refused.cause,
            Cause::ReadGuestPageFault | Cause::WriteGuestPageFault
        );
        let record = FaultRecord {
            header: FaultHeader::new()
                .with_cause(refused.cause.code())
                .with_ttyp(wanted)
                .with_did(request.requester.into()),
            custom: 0,
            iotval: request.bus,
            // The first stage is bare: the address is the guest's physical one.
            iotval2: if guest { request.bus & !3 } else { 0 },
        };
        match self.registers.lock().log_fault(self.tables.view(), record) {
            Logged::Recorded => self.counters.faults_recorded.add_one(),
            Logged::Lost => self.counters.faults_lost.add_one(),
        }
    }
}

fn page_table(route: Route) -> Option<PageTable> {
    let tag = route.tag()?;
    Some(match route {
        Route::First { table, levels, .. } => PageTable {
            stage: Stage::First,
            root: table,
            levels,
            tag,
        },
        Route::Second { table, levels, .. } => PageTable {
            stage: Stage::Second,
            root: table,
            levels,
            tag,
        },
        Route::Bare => return None,
    })
}

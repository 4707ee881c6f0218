//! One request: stream, context, TLB, walk, permissions, and the record of what was terminated (3.3, 3.12, 7.3).

use hw::smmu::event::{Class, Event0, Event1, EventKind, EventRecord};

use super::cache::{CachedPage, Caches, Tag};
use super::core::{Core, Live};
use super::descriptor::Stage;
use super::entries::{ConfigFault, Context, Stream, Tables, Translating};
use super::event_queue::Recorded;
use super::privilege::Grants;
use super::stream_table::{self, StreamTable};
use super::walk::Fault;
use crate::bus::{Access, Privilege};
use crate::cache::POISON;
use crate::findings::FindingKind;
use crate::iommu::grant::Grant;
use crate::iommu::translator::{InFlight, TranslationFault};
use hw::smmu::regs::Gerror;

/// One page of a device's request.
#[derive(Clone, Copy, Debug)]
struct Request {
    stream: u32,
    bus: u64,
    access: Access,
    privilege: Privilege,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Through(u64),
    AsItIs,
}

/// Why it does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// By what software asked for: nothing is recorded.
    Silently,
    ByConfig(ConfigFault),
    ByWalk(Fault),
}

impl From<ConfigFault> for Blocked {
    fn from(fault: ConfigFault) -> Self {
        Self::ByConfig(fault)
    }
}

impl From<Fault> for Blocked {
    fn from(fault: Fault) -> Self {
        Self::ByWalk(fault)
    }
}

impl Blocked {
    /// The event's code, or 0.
    fn code(self) -> u16 {
        match self {
            Self::Silently => 0,
            Self::ByConfig(fault) => fault.kind.code().into(),
            Self::ByWalk(fault) => fault.kind.code().into(),
        }
    }
}

/// What a stage came to for one page.
#[derive(Clone, Copy, Debug)]
struct Page {
    phys: u64,
    size_log2: u32,
    grant: Grant,
}

impl Page {
    fn at(self, address: u64) -> u64 {
        self.phys + (address & ((1 << self.size_log2) - 1))
    }
}

impl Core {
    pub(super) fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<InFlight<'_>, TranslationFault> {
        // In flight from before the first look, so that whoever invalidates and synchronises waits for us.
        let guard = self.in_flight.enter();
        let request = Request {
            stream: self.first_stream.saturating_add(requester.into()),
            bus,
            access,
            privilege,
        };
        let live = *self.live.read();
        let result = match live {
            Live::Bypass => return Ok(InFlight::untranslated(bus, Some(guard))),
            Live::Abort => Err(Blocked::Silently),
            Live::OnWithoutTable => Err(Blocked::ByConfig(ConfigFault {
                kind: EventKind::BadStreamId,
                at: 0,
                word: 0,
            })),
            Live::On(table) => {
                self.counters.translations.add_one();
                match self.look_up(request) {
                    Some(result) => result,
                    None => self.resolve(request, table),
                }
            }
        };
        match result {
            Ok(Way::Through(phys)) => Ok(InFlight::translated(phys, guard)),
            Ok(Way::AsItIs) => Ok(InFlight::untranslated(bus, Some(guard))),
            Err(blocked) => {
                drop(guard);
                self.record(request, blocked, live);
                Err(TranslationFault {
                    requester,
                    bus,
                    reason: blocked.code(),
                })
            }
        }
    }

    /// The answer of the caches, if they have one.
    fn look_up(&self, request: Request) -> Option<Result<Way, Blocked>> {
        let caches = self.caches.read();
        let Ok(Stream::Translate(translating)) = *caches.streams.get(request.stream)? else {
            return None;
        };
        let tables = match translating.context {
            None => translating.stage2?,
            Some(_) => caches.contexts.get(request.stream)?.ok()?.tables,
        };
        if request.bus >> tables.geometry.input_bits != 0 {
            return None;
        }
        let asid = match translating.context {
            None => None,
            Some(_) => Some(caches.contexts.get(request.stream)?.ok()?.asid),
        };
        let (page, size_log2) = cached(&caches, tags(translating, asid), request.bus)?;
        self.counters.hits.add_one();
        Some(answer(request, translating, tables, page, size_log2))
    }

    /// Looks in tables, and lets the caches remember. No invalidation comes in between: it waits for the lock.
    fn resolve(&self, request: Request, table: StreamTable) -> Result<Way, Blocked> {
        let mut caches = self.caches.write();
        let caches = &mut *caches;
        let translating = match self.stream(caches, table, request.stream)? {
            Stream::Abort => return Err(Blocked::Silently),
            Stream::Bypass => return Ok(Way::AsItIs),
            Stream::Translate(translating) => translating,
        };
        let (page, tables) = match translating.context {
            Some(at) => {
                let context = self.context(caches, request, translating, at)?;
                let page = self.stage1(caches, request, translating, context)?;
                (page, context.tables)
            }
            None => {
                let tables = translating.stage2.ok_or(Blocked::Silently)?;
                let vmid = translating.vmid;
                let page = self.stage2(caches, tables, vmid, request.bus, Class::Input)?;
                let page = (
                    CachedPage {
                        phys: page.phys,
                        first: Grants::ALL,
                        second: page.grant,
                    },
                    page.size_log2,
                );
                (page, tables)
            }
        };
        answer(request, translating, tables, page.0, page.1)
    }

    fn stream(
        &self,
        caches: &mut Caches,
        table: StreamTable,
        stream: u32,
    ) -> Result<Stream, ConfigFault> {
        table.check(stream)?;
        if let Some(cached) = caches.streams.get(stream) {
            return *cached;
        }
        let found = self.find_stream(caches, table, stream);
        caches.streams.insert(stream, found);
        if let Err(fault) = found {
            self.report_config(stream, fault);
        }
        found
    }

    fn find_stream(
        &self,
        caches: &mut Caches,
        table: StreamTable,
        stream: u32,
    ) -> Result<Stream, ConfigFault> {
        let level1 = match table.split {
            None => None,
            Some(split) => {
                let index = stream >> split;
                Some(match caches.level1.get(index) {
                    Some(known) => *known,
                    None => {
                        let at = table.level1_at(index);
                        let read = stream_table::load_level1(&self.tables, at)?;
                        caches.level1.insert(index, read);
                        read
                    }
                })
            }
        };
        let at = table.entry_at(stream, level1)?;
        let entry = stream_table::load_entry(&self.tables, at)?;
        let decoded = self.rules.stream(at, entry)?;
        self.check_zero("stream table entry", stream, at, decoded.reserved);
        Ok(decoded.value)
    }

    fn context(
        &self,
        caches: &mut Caches,
        request: Request,
        translating: Translating,
        at: u64,
    ) -> Result<Context, Blocked> {
        let stream = request.stream;
        if let Some(cached) = caches.contexts.get(stream) {
            return Ok((*cached)?);
        }
        let phys = match translating.stage2 {
            None => at,
            Some(tables) => {
                let class = Class::ContextDescriptor;
                let page = self.stage2(caches, tables, translating.vmid, at, class)?;
                page.at(at)
            }
        };
        let found = stream_table::load_context(&self.tables, phys)
            .and_then(|descriptor| self.rules.context(phys, descriptor));
        let context = found.map(|decoded| decoded.value);
        match found {
            Ok(decoded) => {
                self.check_zero("context descriptor", stream, phys, decoded.reserved);
                if let Some(other) = caches.conflict(stream, translating.vmid, decoded.value) {
                    self.reporter.report(
                        FindingKind::ProtocolViolation,
                        format!(
                            "ASID {:#x} leads streams {stream:#x} and {other:#x} to different tables",
                            decoded.value.asid
                        ),
                    );
                }
            }
            Err(fault) => self.report_config(stream, fault),
        }
        caches.contexts.insert(stream, context);
        Ok(context?)
    }

    /// Stage 1, and stage 2 of what it gives, if both translate.
    fn stage1(
        &self,
        caches: &mut Caches,
        request: Request,
        translating: Translating,
        context: Context,
    ) -> Result<(CachedPage, u32), Fault> {
        let bus = request.bus;
        let tables = context.tables;
        if bus >> tables.geometry.input_bits != 0 {
            return Err(tables.fault(EventKind::Translation, bus));
        }
        // Another stream of the ASID may have filled it while we waited for the lock.
        if let Some(page) = cached(caches, tags(translating, Some(context.asid)), bus) {
            self.counters.hits.add_one();
            return Ok(page);
        }
        let vmid = translating.vmid;
        let tag = Tag::Asid {
            vmid,
            asid: context.asid,
        };
        let start = caches.translations.table(tag, bus);
        self.counters.walks.add_one();
        let mut passed = Vec::new();
        let found = tables.walk(
            start.unwrap_or(tables.top()),
            bus,
            |at| {
                let phys = match translating.stage2 {
                    None => at,
                    Some(stage2) => self.stage2(caches, stage2, vmid, at, Class::Walk)?.at(at),
                };
                self.load(phys, Stage::First)
            },
            |table, size_log2| passed.push((table, size_log2)),
            &mut |at, word| self.suspicious(at, word),
        );
        for (table, size_log2) in passed {
            caches.translations.insert_table(tag, bus, size_log2, table);
        }
        let found = found?;
        let mut page = CachedPage {
            phys: found.leaf.output,
            first: found.grants,
            second: Grant::ALL,
        };
        let mut size_log2 = found.size_log2;
        if let Some(stage2) = translating.stage2 {
            let intermediate = found.leaf.output + (bus & ((1 << size_log2) - 1));
            let second = self.stage2(caches, stage2, vmid, intermediate, Class::Input)?;
            size_log2 = size_log2.min(second.size_log2);
            page.phys = second.at(intermediate) & !((1 << size_log2) - 1);
            page.second = second.grant;
        }
        let tag = if found.leaf.global {
            Tag::Global { vmid }
        } else {
            tag
        };
        caches
            .translations
            .insert_page(tag, bus, size_log2, page, None);
        Ok((page, size_log2))
    }

    /// Stage 2, of a request's address or of one that stage 1 needs.
    fn stage2(
        &self,
        caches: &mut Caches,
        tables: Tables,
        vmid: u16,
        address: u64,
        class: Class,
    ) -> Result<Page, Fault> {
        let refused = |fault: Fault| Fault { class, ..fault };
        if address >> tables.geometry.input_bits != 0 {
            return Err(refused(tables.fault(EventKind::Translation, address)));
        }
        let tag = Tag::Stage2 { vmid };
        let page = match caches.translations.page(tag, address) {
            Some((page, size_log2)) => {
                self.counters.hits.add_one();
                Page {
                    phys: page.phys,
                    size_log2,
                    grant: page.second,
                }
            }
            None => {
                let start = caches.translations.table(tag, address);
                self.counters.walks.add_one();
                let found = tables
                    .walk(
                        start.unwrap_or(tables.top()),
                        address,
                        |at| self.load(at, Stage::Second),
                        |table, size_log2| {
                            caches
                                .translations
                                .insert_table(tag, address, size_log2, table);
                        },
                        &mut |at, word| self.suspicious(at, word),
                    )
                    .map_err(refused)?;
                let page = CachedPage {
                    phys: found.leaf.output,
                    first: Grants::ALL,
                    second: found.grants.privileged,
                };
                caches
                    .translations
                    .insert_page(tag, address, found.size_log2, page, None);
                Page {
                    phys: found.leaf.output,
                    size_log2: found.size_log2,
                    grant: found.grants.privileged,
                }
            }
        };
        // What stage 1 needs is read.
        if class != Class::Input && !page.grant.read {
            return Err(refused(tables.fault(EventKind::Permission, address)));
        }
        Ok(page)
    }

    fn load(&self, phys: u64, stage: Stage) -> Result<u64, Fault> {
        self.tables.entry(phys).map_err(|_| {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!("a page table at phys {phys:#x}, which is no RAM"),
            );
            Fault {
                kind: EventKind::WalkAbort,
                stage,
                class: Class::Walk,
                address: phys,
                recorded: true,
            }
        })
    }

    fn suspicious(&self, at: u64, word: u64) {
        let kind = if word == POISON {
            FindingKind::PoisonRead
        } else {
            FindingKind::ReservedBits
        };
        self.reporter
            .report(kind, format!("descriptor {word:#x} at phys {at:#x}"));
    }

    fn check_zero(&self, what: &str, stream: u32, at: u64, reserved: u64) {
        if reserved != 0 {
            self.reporter.report(
                FindingKind::ReservedBits,
                format!("{what} of stream {stream:#x} at phys {at:#x}: {reserved:#x}"),
            );
        }
    }

    /// Tables that no correct driver writes are findings, beside the fault of the device.
    fn report_config(&self, stream: u32, fault: ConfigFault) {
        let ConfigFault { kind, at, word } = fault;
        let finding = match kind {
            _ if word == POISON => FindingKind::PoisonRead,
            // A stream that is not valid is one that nobody is attached to.
            EventKind::BadStreamId => return,
            EventKind::BadSte if word & 1 == 0 => return,
            _ => FindingKind::ProtocolViolation,
        };
        self.reporter.report(
            finding,
            format!("{kind}: stream {stream:#x}, phys {at:#x}, {word:#x}"),
        );
    }

    /// Records a terminated request in the event queue.
    fn record(&self, request: Request, blocked: Blocked, live: Live) {
        self.counters.faults.add_one();
        let word0 = |kind: EventKind| {
            Event0::new()
                .with_kind(kind.code())
                .with_stream(request.stream)
        };
        let records_bad_streams = live
            .stream_table()
            .is_some_and(|table| table.records_bad_streams);
        let (record, is_recorded) = match blocked {
            Blocked::Silently => (EventRecord::default(), false),
            Blocked::ByConfig(fault) => (
                EventRecord {
                    word0: word0(fault.kind),
                    fetch_address: match fault.kind {
                        EventKind::SteFetch | EventKind::CdFetch => fault.at,
                        _ => 0,
                    },
                    ..EventRecord::default()
                },
                fault.kind != EventKind::BadStreamId || records_bad_streams,
            ),
            Blocked::ByWalk(fault) => (
                EventRecord {
                    word0: word0(fault.kind),
                    word1: Event1::new()
                        .with_rnw(request.access == Access::Read)
                        .with_pnu(request.privilege == Privilege::Privileged)
                        .with_s2(fault.stage == Stage::Second)
                        .with_class(fault.class),
                    input_address: request.bus,
                    fetch_address: match (fault.kind, fault.stage) {
                        (EventKind::WalkAbort, _) | (_, Stage::Second) => fault.address & !0xfff,
                        _ => 0,
                    },
                },
                fault.recorded,
            ),
        };
        if !is_recorded {
            self.counters.faults_silenced.add_one();
            return;
        }
        let mut registers = self.registers.lock();
        match registers.events.record(self.tables.view(), record) {
            Recorded::Yes => self.counters.faults_recorded.add_one(),
            Recorded::Off => self.counters.faults_silenced.add_one(),
            Recorded::Overflow => self.counters.faults_lost.add_one(),
            Recorded::Abort => {
                self.counters.faults_lost.add_one();
                registers
                    .errors
                    .raise(Gerror::new().with_eventq_abt_err(true));
            }
        }
    }
}

/// What translations of a stream are remembered under.
fn tags(translating: Translating, asid: Option<u16>) -> [Tag; 2] {
    let vmid = translating.vmid;
    match asid {
        Some(asid) => [Tag::Asid { vmid, asid }, Tag::Global { vmid }],
        None => [Tag::Stage2 { vmid }; 2],
    }
}

fn cached(caches: &Caches, tags: [Tag; 2], bus: u64) -> Option<(CachedPage, u32)> {
    tags.into_iter()
        .find_map(|tag| caches.translations.page(tag, bus))
}

/// Where a page leads the request, or which stage does not permit it.
fn answer(
    request: Request,
    translating: Translating,
    tables: Tables,
    page: CachedPage,
    size_log2: u32,
) -> Result<Way, Blocked> {
    let kind = EventKind::Permission;
    let privilege = translating.privilege.applied_to(request.privilege);
    if !page.first.to(privilege).allows(request.access) {
        return Err(tables.fault(kind, request.bus).into());
    }
    if !page.second.allows(request.access) {
        let refusing = translating.stage2.unwrap_or(tables);
        return Err(refusing.fault(kind, request.bus).into());
    }
    let offset = request.bus & ((1 << size_log2) - 1);
    Ok(Way::Through(page.phys + offset))
}

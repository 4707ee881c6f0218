//! virtio-iommu: the driver of one unit that is told of mappings by requests.
//!
//! | part | here | manual |
//! |---|---|---|
//! | registers | `transport` | 4.1, 4.2 |
//! | what the unit can do | `config` | 5.13.4 |
//! | enabling and disabling | `start` | 3.1.1, 5.13.5 |
//! | requester → domain | `device_table` | 5.13.6.3, 5.13.6.4 |
//! | mapping and unmapping | `queue`, `request`, over a `ring` | 5.13.6.5, 5.13.6.6, 2.7 |
//! | addresses not to be mapped | `probe` | 5.13.6.7 |
//! | refused requests | `fault` | 5.13.6.9 |
//!
//! The unit walks no table. Each domain keeps its own `record` of Z → Y (in a `record_format` of the driver's). A map
//! writes the record, and [`Unit::sync_map`] tells the unit; an unmap clears it, and [`Unit::invalidate`] tells the unit
//! to unmap whatever the record does not map any more. A domain exists in the unit from its first endpoint to its last,
//! so what was mapped before is told when an endpoint is attached, and again after a reset.
//!
//! Requests are handed over while the record's lock is held, so that the unit is told of changes in the order in which
//! they were made; and the record knows of each leaf whether the unit was told of it, so that nobody tells it twice. So are the
//! first ATTACH and the last DETACH of a domain: what comes after the one that ends it is not asked, but waits for its answer.

mod config;
mod device_table;
mod fault;
mod probe;
mod queue;
mod record;
mod record_format;
mod request;
mod ring;
mod start;
mod transport;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::AtomicBool;

use hw::virtio::feature::Features;
use hw::virtio::iommu::request::{AttachFlags, Status};

use crate::addr::{BusRange, PhysAddr};
use crate::iommu::bound::Bound;
use crate::iommu::fault::FaultLog;
use crate::iommu::fault_event::{FaultEvent, FaultSource};
use crate::iommu::requester::Attachment;
use crate::iommu::stream::StreamNames;
use crate::iommu::translation::{Translate, Translation};
use crate::iommu::unit::{
    AtMap, Change, DomainId, MessageRoute, PassThrough, TableShape, Unit, UnitError, UnitFacts,
};
use crate::pagetable::LeafSizes;
use crate::platform::Platform;
use config::Config;
use device_table::{DeviceTable, Entry, Leaver, Target, Written};
use fault::EventQueue;
use queue::{Asker, Ports, Queue};
use record::{Joining, Record, Records, Run};
use record_format::RecordFormat;
use request::{Batch, Request};
use transport::Transport;

/// What units of this kind are called.
const KIND: &str = "virtio-iommu";

/// What the unit reads from memory and writes there; given back when it is off.
struct Running<P: Platform> {
    requests: Queue<P>,
    events: EventQueue<P>,
}

/// One virtio-iommu, driven.
pub(crate) struct VirtioUnit<P: Platform> {
    platform: P,
    transport: Box<dyn Transport<P>>,
    bound: Bound<P>,
    /// What was agreed on.
    features: Features,
    config: Config,
    /// What the configuration's field for endpoints without a domain was before this driver came, where there is one.
    found_bypass: Option<u8>,
    host_address_bits: u32,
    streams: StreamNames,
    records: Records<P>,
    devices: DeviceTable<P>,
    running: ManuallyDrop<Running<P>>,
    /// Whether the unit has confirmed that it uses no queue.
    off: AtomicBool,
    event: FaultEvent<P>,
}

impl<P: Platform> VirtioUnit<P> {
    fn ports(&self, asker: Asker) -> Ports<'_, P> {
        Ports {
            transport: &*self.transport,
            bound: &self.bound,
            asker,
        }
    }

    /// The number by which the unit knows a domain.
    fn number(&self, domain: DomainId) -> u32 {
        self.config.domains.0 + u32::from(domain.0)
    }

    fn send_attach(&self, asker: Asker, entry: &Entry<P>) -> Result<(), UnitError> {
        let bypass = matches!(entry.target, Target::Bypass);
        let flags = AttachFlags::new().with_bypass(bypass);
        let request = Request::attach(self.number(entry.domain), entry.endpoint, flags);
        let (queue, ports, batch) = (
            &self.running.requests,
            self.ports(asker),
            Batch::one(request),
        );
        let hand_over = || queue.enqueue(&ports, &batch);
        let submission = queue.wait_for_room(&ports, "ATTACH", || match &entry.target {
            Target::Record(record) => record.enter(hand_over),
            Target::Bypass => hand_over(),
        })?;
        queue.wait(&ports, submission, "ATTACH")
    }

    /// Takes an endpoint out of a domain: of the record `last`, if it is the last in it.
    fn send_detach(
        &self,
        domain: DomainId,
        endpoint: u32,
        last: Option<&Record<P>>,
    ) -> Result<(), UnitError> {
        let batch = Batch::one(Request::detach(self.number(domain), endpoint));
        let (queue, ports) = (&self.running.requests, self.ports(Asker::Anybody));
        let hand_over = || queue.enqueue(&ports, &batch);
        let submission = queue.wait_for_room(&ports, "DETACH", || match last {
            Some(record) => record.leave(hand_over),
            None => hand_over(),
        })?;
        match queue.answer(&ports, submission, "DETACH")? {
            // The endpoint is not in the domain: an ATTACH that was not answered did nothing.
            Some(Status::Invalid | Status::NoEntry) => Ok(()),
            status => ports.expect_ok(status, "DETACH"),
        }
    }

    /// Tells the unit what the record maps in `range`, first and last address, and the unit was not told of; whole leaves.
    /// When this returns `Ok` the unit knows all that is mapped there, whoever told it. A batch is handed over before anybody
    /// else can change the record.
    fn send_maps(
        &self,
        asker: Asker,
        domain: DomainId,
        record: &Record<P>,
        range: (u64, u64),
        joining: Joining,
    ) -> Result<(), UnitError> {
        let number = self.number(domain);
        let (queue, ports) = (&self.running.requests, self.ports(asker));
        let mut next = Some(range.0);
        while let Some(first) = next {
            let handed_over = queue.wait_for_room(&ports, "MAP", || {
                record.with_untold((first, range.1), joining, |runs| {
                    let mut batch = Batch::with_room(queue.capacity());
                    let mut after = None;
                    for run in runs {
                        batch.push(Request::map(number, run));
                        if batch.is_full() {
                            after = run.last.checked_add(1).filter(|&after| after <= range.1);
                            break;
                        }
                    }
                    Some((queue.enqueue(&ports, &batch)?, after))
                })
            })?;
            let Some((submission, after)) = handed_over else {
                return Ok(());
            };
            let asked_at = submission.epoch();
            queue.wait(&ports, submission, "MAP").inspect_err(|_| {
                // What it took of them is not known: whoever tries again is to hear the unit's answer.
                let last = after.map_or(range.1, |after| after - 1);
                record.forget_if((first, last), || queue.is_now(asked_at));
            })?;
            next = after;
        }
        Ok(())
    }

    /// Tells the unit to unmap what the record does not map in `range`; the number of requests.
    fn send_unmaps(
        &self,
        domain: DomainId,
        record: &Record<P>,
        range: (u64, u64),
    ) -> Result<usize, UnitError> {
        let number = self.number(domain);
        let (queue, ports) = (&self.running.requests, self.ports(Asker::Anybody));
        let (mut requests, mut next) = (0, Some(range.0));
        while let Some(first) = next.filter(|first| *first <= range.1) {
            let handed_over = queue.wait_for_room(&ports, "UNMAP", || {
                record.with_mapped((first, range.1), |runs| {
                    let mut batch = Batch::with_room(queue.capacity());
                    let after = fill_with_gaps(number, (first, range.1), runs, &mut batch);
                    let submission = queue.enqueue(&ports, &batch)?;
                    requests += batch.as_slice().len();
                    Some((submission, after))
                })
            })?;
            // Where the unit has no such domain, or has it no more, nothing is mapped.
            let Some((submission, after)) = handed_over else {
                return Ok(requests);
            };
            queue.wait(&ports, submission, "UNMAP")?;
            next = after;
        }
        Ok(requests)
    }

    fn unsupported(&self, feature: &'static str) -> UnitError {
        UnitError::Unsupported {
            unit: self.base(),
            feature,
        }
    }

    /// What `translate` asks for.
    fn target(&self, translate: Translate) -> Result<Target<P>, UnitError> {
        match translate {
            Translate::Table { root, .. } => self
                .records
                .find(root)
                .map(Target::Record)
                .ok_or(self.unsupported("domains of another unit's kind")),
            Translate::PassThrough if self.features.bypass_config() => Ok(Target::Bypass),
            Translate::PassThrough => Err(self.unsupported("pass-through (BYPASS_CONFIG)")),
        }
    }
}

/// Adds requests to unmap what lies from `first` to `last` between `runs`; the address to go on at where the batch is full.
fn fill_with_gaps(
    number: u32,
    (mut first, last): (u64, u64),
    runs: &mut dyn Iterator<Item = Run>,
    batch: &mut Batch,
) -> Option<u64> {
    for run in runs {
        let next = run.last.checked_add(1);
        if run.first > first {
            batch.push(Request::unmap(number, first, run.first - 1));
            if batch.is_full() {
                return next;
            }
        }
        first = next?;
    }
    if first <= last {
        batch.push(Request::unmap(number, first, last));
    }
    None
}

/// Every address.
const ALL: (u64, u64) = (0, u64::MAX);

impl<P: Platform> Unit<P> for VirtioUnit<P> {
    fn base(&self) -> PhysAddr {
        self.bound.unit()
    }

    fn facts(&self) -> UnitFacts {
        UnitFacts {
            tables: self.config.shapes(),
            address_bits: self.config.address_bits() as u8,
            leaf_sizes: LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB | LeafSizes::ONE_GIB,
            pass_through: if self.features.bypass_config() {
                PassThrough::Supported
            } else {
                PassThrough::Unsupported
            },
            domain_ids: self.config.domain_ids(),
            at_map: AtMap::Invalidate,
            // Where it does not say otherwise when it is probed.
            messages: MessageRoute::Translated,
        }
    }

    fn create_table(
        &self,
        shape: TableShape,
        _domain: DomainId,
    ) -> Result<Box<dyn Translation<P>>, UnitError> {
        let format = RecordFormat {
            geometry: self
                .config
                .geometry(shape)
                .ok_or(self.unsupported("tables of that shape"))?,
            host_address_bits: self.host_address_bits,
        };
        let unit = self.base();
        match self.records.create(self.platform, format) {
            Ok(table) => Ok(table),
            Err(cause) => Err(UnitError::OutOfFrames { unit, cause }),
        }
    }

    fn unmappable(&self, attachment: Attachment) -> Result<Vec<BusRange>, UnitError> {
        let mut ranges: Vec<BusRange> = self.config.outside().collect();
        self.running
            .requests
            .probe(&self.ports(Asker::Anybody), attachment.stream, |words| {
                ranges.extend(probe::reserved(words));
            })?;
        Ok(ranges)
    }

    fn attach(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError> {
        if attachment.pasid.is_some() {
            return Err(self.unsupported("PASIDs"));
        }
        let entry = Entry {
            endpoint: attachment.stream,
            domain,
            target: self.target(translate)?,
        };
        let written = self.devices.write(entry.clone());
        match written {
            Written::Unchanged => return Ok(()),
            Written::Occupied => {
                return Err(UnitError::AlreadyAttached {
                    unit: self.base(),
                    requester: attachment.requester,
                });
            }
            Written::NewDomain | Written::KnownDomain => {}
        }
        let attached = self.send_attach(Asker::Anybody, &entry);
        if matches!(attached, Err(UnitError::Refused { .. })) {
            self.devices.clear(entry.endpoint);
        }
        attached?;
        match &entry.target {
            Target::Record(record) if written == Written::NewDomain => {
                self.send_maps(Asker::Anybody, domain, record, ALL, Joining::Leaves)
            }
            _ => Ok(()),
        }
    }

    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError> {
        // Also where it is not known: an ATTACH that the unit refused is taken back, too.
        let (domain, last) = match self.devices.leave(attachment.stream) {
            Some(Leaver { domain, last }) => (domain, last),
            None => (domain, None),
        };
        let outcome = self.send_detach(domain, attachment.stream, last.as_deref());
        match (&outcome, last) {
            // Not before: until then whoever unmaps has to wait.
            (Ok(()), _) => self.devices.clear(attachment.stream),
            (Err(_), Some(record)) => record.stayed(),
            (Err(_), None) => {}
        }
        outcome
    }

    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError> {
        let Some(record) = self.devices.record(domain) else {
            // The unit has no such domain: nothing is mapped.
            return Ok(());
        };
        let range = (change.range.start().as_u64(), change.range.last().as_u64());
        let requests = self.send_unmaps(domain, &record, range)?;
        self.running.requests.count_unmapped(requests);
        Ok(())
    }

    fn sync_map(&self, domain: DomainId, range: BusRange) -> Result<(), UnitError> {
        let Some(record) = self.devices.record(domain) else {
            return Ok(());
        };
        let range = (range.start().as_u64(), range.last().as_u64());
        self.send_maps(Asker::Anybody, domain, &record, range, Joining::Neighbours)
    }

    fn service_faults(&self, log: &FaultLog<P>) {
        let _ = self.read_faults(log);
    }

    fn invalidations(&self) -> u64 {
        self.running.requests.unmapped()
    }

    fn turn_on(&self) -> Result<(), UnitError> {
        self.block()
    }

    fn sleep(&self) {
        self.running.requests.sleep();
    }

    fn restart(&self) -> Result<(), UnitError> {
        self.restart_all()
    }

    fn stop(&self) -> Result<(), UnitError> {
        self.turn_off()?;
        self.event.close(self.platform, &self.bound);
        Ok(())
    }
}

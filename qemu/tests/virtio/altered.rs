//! A board on which one request to a virtio-iommu is altered on its way: when the driver notifies the unit of requests
//! it has put into the queue, the next one of a kind is changed in memory before the unit learns of it. So a unit can
//! be asked what the driver never asks, and the driver told what it is never told.

use std::sync::{Arc, OnceLock};

use board::between::Between;
use board::hardware::{Hardware, Width};
use dmamap::pci::Function;
use hosted::Hosted;
use hw::pci::capability::id::VENDOR_SPECIFIC;
use hw::virtio::DEVICE_TYPE_IOMMU;
use hw::virtio::iommu::REQUEST_QUEUE;
use hw::virtio::iommu::request::{Attach, Head, Map, RequestType, Unmap};
use hw::virtio::pci::{self, CapabilityHeader, StructureType};
use hw::virtio::queue::{self, Descriptor};
use journeys::Computer;
use parking_lot::Mutex;

/// Changes the words of a request that the unit reads.
type Change = Box<dyn FnOnce(&mut [u32]) + Send>;

/// The request queue, as the unit was told of it.
struct Queue {
    /// The register that tells the unit of new requests.
    notify: u64,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

/// A board whose unit is asked something else when a test wants it.
pub struct Altered {
    inner: Arc<dyn Hardware>,
    queue: OnceLock<Queue>,
    next: Mutex<Option<(RequestType, Change)>>,
}

impl Altered {
    pub fn new(inner: Arc<dyn Hardware>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            queue: OnceLock::new(),
            next: Mutex::new(None),
        })
    }

    /// Finds the queue of the computer's unit, which is at work; returns where the unit's registers are.
    pub fn follow(&self, computer: &Computer<Hosted>) -> u64 {
        let ids = (pci::VENDOR_ID, pci::device_id(DEVICE_TYPE_IOMMU));
        let mut functions = computer.topology().functions();
        let unit = functions.find(|function| (function.vendor(), function.device()) == ids);
        let unit = unit.expect("the board has a virtio-iommu");
        let (common, bar) = structure(unit, StructureType::Common);
        let (notify, _) = structure(unit, StructureType::Notify);
        let multiplier = capability(unit, StructureType::Notify) + pci::CAP_NOTIFY_OFF_MULTIPLIER;
        let multiplier = unit.read_config(multiplier).expect("it is there");

        let select = u64::from(REQUEST_QUEUE);
        self.inner
            .write(common + pci::QUEUE_SELECT, Width::Word, select);
        let word = |offset| self.inner.read(common + offset, Width::Word) as u16;
        let address = |offset| {
            let half = |offset| self.inner.read(common + offset, Width::Dword);
            half(offset) | half(offset + 4) << 32
        };
        assert_eq!(word(pci::QUEUE_ENABLE), 1, "the unit is at work");
        let offset = pci::notify_offset(word(pci::QUEUE_NOTIFY_OFF), multiplier);
        let queue = Queue {
            notify: notify + offset.expect("it is in the BAR"),
            size: word(pci::QUEUE_SIZE),
            descriptors: address(pci::QUEUE_DESC),
            available: address(pci::QUEUE_DRIVER),
            used: address(pci::QUEUE_DEVICE),
        };
        assert!(self.queue.set(queue).is_ok(), "one unit is followed");
        bar
    }

    /// The next request of `kind` will be changed.
    pub fn alter_next(&self, kind: RequestType, change: impl FnOnce(&mut [u32]) + Send + 'static) {
        *self.next.lock() = Some((kind, Box::new(change)));
    }

    /// Whether no request waits to be changed.
    pub fn is_done(&self) -> bool {
        self.next.lock().is_none()
    }

    /// Looks at the requests that the unit has not taken yet.
    fn notified(&self, queue: &Queue) {
        let mut next = self.next.lock();
        let ram = self.inner.ram();
        let half = |phys| ram.load_u16(phys).expect("the queue lies in RAM");
        let (mut index, end) = (
            half(queue.used + queue::USED_IDX),
            half(queue.available + queue::AVAILABLE_IDX),
        );
        while index != end {
            let head = half(queue.available + queue::available_entry(index % queue.size));
            index = index.wrapping_add(1);
            let at = queue.descriptors + u64::from(head) * queue::DESCRIPTOR_BYTES;
            let word = |phys| ram.load_u64(phys).expect("the queue lies in RAM");
            let descriptor = Descriptor::from_words([word(at), word(at + 8)]);
            let mut words: Vec<u32> = (0..u64::from(descriptor.len) / 4)
                .map(|word| {
                    let loaded = ram.load_u32(descriptor.addr + word * 4);
                    loaded.expect("requests lie in RAM")
                })
                .collect();
            let kind = RequestType::from_code(Head::from_bits(words[0]).kind());
            if kind.is_none() || next.as_ref().map(|(kind, _)| *kind) != kind {
                continue;
            }
            let (_, change) = next.take().expect("it was looked at");
            change(&mut words);
            for (word, phys) in words.iter().zip((descriptor.addr..).step_by(4)) {
                ram.store_u32(phys, *word).expect("requests lie in RAM");
            }
        }
    }
}

/// Offset of the capability that says where `kind` is.
fn capability(unit: &Function<Hosted>, kind: StructureType) -> u16 {
    let mut offsets = unit
        .capabilities()
        .filter(|(id, _)| *id == VENDOR_SPECIFIC)
        .map(|(_, at)| at);
    let found = offsets.find(|at| {
        let header = unit.read_config(*at).expect("it is there");
        CapabilityHeader::from_bits(header).structure() == kind.code()
    });
    found.expect("the unit has that structure")
}

/// Where `kind` is, and where the BAR it lies in begins.
fn structure(unit: &Function<Hosted>, kind: StructureType) -> (u64, u64) {
    let at = capability(unit, kind);
    let bar: u8 = unit.read_config(at + pci::CAP_BAR).expect("it is there");
    let offset: u32 = unit.read_config(at + pci::CAP_OFFSET).expect("it is there");
    let bar = unit.bar(bar).and_then(|bar| bar.phys);
    let start = bar.expect("the BAR was assigned").start().as_u64();
    (start + u64::from(offset), start)
}

impl Between for Altered {
    fn board(&self) -> &dyn Hardware {
        &*self.inner
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        if let Some(queue) = self.queue.get()
            && phys == queue.notify
            && value == u64::from(REQUEST_QUEUE)
        {
            self.notified(queue);
        }
        self.inner.write(phys, width, value);
    }
}

pub fn map_of(words: &[u32]) -> Map {
    Map::from_words(words.try_into().expect("it is that long"))
}

pub fn attach_of(words: &[u32]) -> Attach {
    Attach::from_words(words.try_into().expect("it is that long"))
}

pub fn unmap_of(words: &[u32]) -> Unmap {
    Unmap::from_words(words.try_into().expect("it is that long"))
}

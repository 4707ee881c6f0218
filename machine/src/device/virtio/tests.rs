//! Devices on a bus without a unit, driven by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use board::hardware::Width;
use board::ram::Ram;
use hw::virtio::feature::Features;
use hw::virtio::pci as layout;
use hw::virtio::queue::{Descriptor, DescriptorFlags, used_entry};

use super::{Misbehaviour, VirtioDevice, VirtioDeviceConfig, VirtioKind};
use crate::bus::{Bus, DmaPort, Requester};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::virtio::memory;
use crate::pci::function::{FunctionModel, FunctionPort};

/// Where notifications lie in the BAR, and the device's configuration.
const NOTIFY: u64 = 0x3000;
const CONFIG: u64 = 0x2000;

/// Where the tests put queue 0, and what it leads to.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const DATA: u64 = 0x4000;

struct Bench {
    device: Arc<VirtioDevice>,
    ram: Arc<Ram>,
    requester: Arc<Requester>,
    findings: Findings,
}

impl Bench {
    fn new(config: VirtioDeviceConfig) -> Self {
        let ram = Ram::new(&[0..0x10_0000]).expect("the host lends memory");
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let bus = Bus::new(Arc::clone(&ram), Vec::new(), Vec::new(), interrupts);
        let requester = Arc::new(Requester::new(8, 0, 64, Vec::new()));
        requester.set_master(true);
        let port = DmaPort::new(Arc::new(bus), None, Arc::clone(&requester));
        let memory = memory::map(&ram).expect("it is mapped");
        let device = VirtioDevice::new(config, memory, findings.clone()).expect("it is made");
        let device = Arc::new(device);
        Arc::clone(&device).start(FunctionPort::new(port, None));
        Self {
            device,
            ram,
            requester,
            findings,
        }
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        self.device.write(0, offset, width, value);
    }

    fn status(&self) -> u64 {
        self.device.read(0, layout::DEVICE_STATUS, Width::Byte)
    }

    fn offered(&self) -> Features {
        let half = |index| {
            self.write(layout::DEVICE_FEATURE_SELECT, Width::Dword, index);
            self.device.read(0, layout::DEVICE_FEATURE, Width::Dword) as u32
        };
        Features::from_halves(half(0), half(1))
    }

    /// Accepts features; whether the device agrees.
    fn negotiate(&self, features: Features) -> bool {
        self.write(layout::DEVICE_STATUS, Width::Byte, 0);
        self.wait_for("reset", || self.status() == 0);
        self.write(layout::DEVICE_STATUS, Width::Byte, 3);
        for (index, half) in [(0, features.low()), (1, features.high())] {
            self.write(layout::DRIVER_FEATURE_SELECT, Width::Dword, index);
            self.write(layout::DRIVER_FEATURE, Width::Dword, half.into());
        }
        self.write(layout::DEVICE_STATUS, Width::Byte, 0xb);
        self.status() & 8 != 0
    }

    /// Puts queue 0, of 8 entries, into use, and starts the device.
    fn start(&self) {
        assert!(self.negotiate(self.offered()));
        self.write(layout::QUEUE_SELECT, Width::Word, 0);
        self.write(layout::QUEUE_SIZE, Width::Word, 8);
        for (register, address) in [
            (layout::QUEUE_DESC, DESCRIPTORS),
            (layout::QUEUE_DRIVER, AVAILABLE),
            (layout::QUEUE_DEVICE, USED),
        ] {
            self.write(register, Width::Dword, address);
            self.write(register + 4, Width::Dword, 0);
        }
        self.write(layout::QUEUE_ENABLE, Width::Word, 1);
        self.write(layout::DEVICE_STATUS, Width::Byte, 0xf);
    }

    /// Makes one buffer of `len` bytes at [`DATA`] available for the device to write, and tells it.
    fn ask(&self, len: u32) {
        let descriptor = Descriptor {
            addr: DATA,
            len,
            flags: DescriptorFlags::new().with_write(true),
            next: 0,
        };
        let words = descriptor.to_words().map(u64::to_le_bytes);
        self.ram.write(DESCRIPTORS, &words.concat()).expect("RAM");
        // Flags, index, first entry.
        self.ram.write(AVAILABLE, &[0, 0, 1, 0, 0, 0]).expect("RAM");
        self.write(NOTIFY, Width::Word, 0);
    }

    fn used(&self) -> (u16, u32, u32) {
        let mut bytes = [0; 12];
        self.ram.read(USED, &mut bytes).expect("RAM");
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let entry = used_entry(0) as usize;
        (
            word(0).to_le_bytes()[2].into(),
            word(entry),
            word(entry + 4),
        )
    }

    fn wait_for(&self, what: &str, look: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(100);
        while !look() {
            assert!(Instant::now() < end, "{what}");
            std::thread::yield_now();
        }
    }
}

fn entropy(misbehaviour: Misbehaviour) -> Bench {
    let config = VirtioDeviceConfig::new(VirtioKind::Entropy);
    Bench::new(config.with_misbehaviour(misbehaviour))
}

#[test]
fn features_are_agreed_on_only_with_the_platform_accepted() {
    let bench = entropy(Misbehaviour::None);
    let offered = bench.offered();
    assert_eq!(offered.into_bits(), 0x3_0000_0000);
    assert!(!bench.negotiate(offered.with_access_platform(false)));
    assert!(!bench.negotiate(offered.with_version_1(false)));
    assert!(
        !bench.negotiate(offered.with_event_idx(true)),
        "not offered"
    );
    assert!(bench.negotiate(offered));
    assert_eq!(bench.findings.list(), []);
    let past = entropy(Misbehaviour::WithoutPlatform);
    assert_eq!(past.offered().into_bits(), 0x1_0000_0000);
}

#[test]
fn a_buffer_is_taken_filled_and_given_back() {
    let bench = entropy(Misbehaviour::None);
    bench.start();
    bench.ask(64);
    bench.wait_for("an answer", || bench.used().0 == 1);
    let (_, id, len) = bench.used();
    assert_eq!(id, 0);
    assert!((1..=64).contains(&len), "{len}");
    let mut data = [0; 65];
    bench.ram.read(DATA, &mut data).expect("RAM");
    assert!(
        data[len as usize..].iter().all(|&byte| byte == 0),
        "{data:?}"
    );
    // The descriptor, the available ring, the used ring and the data passed the function's port.
    let counters = bench.requester.counters();
    assert!(counters.written_bytes >= u64::from(len) + 8, "{counters:?}");
    assert!(counters.read_bytes >= 16 + 4, "{counters:?}");
    assert_eq!(counters.refused, 0);
    bench.wait_for("a count", || bench.device.answered() == 1);
    assert_eq!(
        bench.device.read(0, 0x1000, Width::Byte),
        1,
        "it says so once"
    );
    assert_eq!(bench.device.read(0, 0x1000, Width::Byte), 0);
    assert_eq!(bench.findings.list(), []);
}

#[test]
fn a_device_that_is_no_bus_master_needs_a_reset() {
    let bench = entropy(Misbehaviour::None);
    bench.start();
    bench.requester.set_master(false);
    bench.ask(64);
    bench.wait_for("trouble", || bench.status() & 0x40 != 0);
    assert_eq!(bench.used(), (0, 0, 0));
    assert!(bench.requester.counters().refused > 0);
    assert_eq!(bench.findings.list(), [], "who took it away had a reason");
    bench.requester.set_master(true);
    bench.start();
    bench.ask(64);
    bench.wait_for("an answer", || bench.used().0 == 1);
}

#[test]
fn lies_are_told_as_asked() {
    for (misbehaviour, expected) in [
        (Misbehaviour::UnknownId, (1, 1)),
        (Misbehaviour::HugeId, (1, 0x8000_0000)),
        (Misbehaviour::Twice, (2, 0)),
        (Misbehaviour::IndexJumps, (1001 & 0xff, 0)),
        (Misbehaviour::TooLong, (1, 0)),
        (Misbehaviour::Empty, (1, 0)),
    ] {
        let bench = entropy(misbehaviour);
        bench.start();
        bench.ask(64);
        bench.wait_for("an answer", || bench.used().0 != 0);
        let (index, id, len) = bench.used();
        assert_eq!((index, id), expected, "{misbehaviour:?}");
        match misbehaviour {
            Misbehaviour::TooLong => assert_eq!(len, 65),
            Misbehaviour::Empty => assert_eq!(len, 0),
            _ => assert!((1..=64).contains(&len)),
        }
        // The entry after it: the same once more, or none.
        let mut next = [0; 8];
        bench.ram.read(USED + 12, &mut next).expect("RAM");
        let again = [id.to_le_bytes(), len.to_le_bytes()].concat();
        match misbehaviour {
            Misbehaviour::Twice => assert_eq!(next[..], again),
            _ => assert_eq!(next, [0; 8]),
        }
    }
}

#[test]
fn what_a_driver_must_not_do_is_found() {
    let misuses: [fn(&Bench); 6] = [
        |bench| bench.write(NOTIFY, Width::Word, 0),
        |bench| bench.write(NOTIFY + 2, Width::Word, 0),
        |bench| bench.write(layout::QUEUE_SIZE, Width::Word, 8),
        |bench| bench.write(layout::DEVICE_STATUS, Width::Byte, 7),
        |bench| {
            bench.start();
            bench.write(layout::QUEUE_DESC, Width::Dword, 0);
        },
        |bench| {
            bench.device.read(0, CONFIG, Width::Dword);
        },
    ];
    for (index, misuse) in misuses.into_iter().enumerate() {
        let bench = entropy(Misbehaviour::None);
        misuse(&bench);
        let found = bench.findings.list();
        let kinds: Vec<FindingKind> = found.iter().map(|finding| finding.kind).collect();
        assert_eq!(
            kinds,
            [FindingKind::IllegalRegisterUse],
            "{index}: {found:?}"
        );
    }
    let bench = entropy(Misbehaviour::None);
    bench.start();
    bench.ask(0);
    bench.wait_for("trouble", || bench.status() & 0x40 != 0);
    let found = bench.findings.list();
    assert_eq!(found[0].kind, FindingKind::ProtocolViolation, "{found:?}");
}

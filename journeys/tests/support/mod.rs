//! A computer of models, booted for one test, and the checks at its end.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]

use std::convert::Infallible;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use dmamap::bridge::PeerForwarding;
use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::Protection;
use drivers::nvme::{DiskMemory, Nvme, Settings, StartFailed};
use hosted::Hosted;
use journeys::Computer;
use journeys::Needs;
use journeys::boot::{BootError, BootOptions, IommuUse, MachineDescription, boot};
use journeys::disk::{Disk, DiskOptions, read_disk};
use machine::device::nvme::{Medium, NvmeConfig};
use machine::{Machine, MachineConfig};

mod shut_down;

pub use shut_down::shut_down;

/// A booted machine.
pub struct Rig {
    pub machine: Arc<Machine>,
    pub hosted: Hosted,
    pub computer: Computer<Hosted>,
}

impl Rig {
    pub fn boot(config: MachineConfig) -> Self {
        Self::boot_with(config, BootOptions::default()).expect("the machine boots")
    }

    /// Boots without using the IOMMU, if there is one.
    pub fn boot_without_iommu(config: MachineConfig) -> Self {
        let options = BootOptions {
            iommu: IommuUse::Ignored,
            ..BootOptions::default()
        };
        Self::boot_with(config, options).expect("the machine boots")
    }

    pub fn boot_with(config: MachineConfig, options: BootOptions) -> Result<Self, BootError> {
        Self::boot_knowing(config, options, PeerForwarding::Unknown)
    }

    /// As [`boot_with`](Self::boot_with), `peers` being known of the host bridge.
    pub fn boot_knowing(
        config: MachineConfig,
        options: BootOptions,
        peers: PeerForwarding,
    ) -> Result<Self, BootError> {
        let machine = Machine::boot(config).expect("the machine is sound");
        let hosted = Hosted::boot(machine.clone()).expect("the kernel boots");
        let mut bridges = hosted
            .host_bridges()
            .expect("the machine's bridge is sound");
        let description = MachineDescription {
            rsdp: hosted.rsdp().expect("the machine has ACPI"),
            host_bridge: bridges.remove(0).with_peer_forwarding(peers),
        };
        // SAFETY: the description is the machine's own, which exists for this rig alone.
        let computer = unsafe { boot(hosted, &description, &hosted, options)? };
        Ok(Self {
            machine,
            hosted,
            computer,
        })
    }

    /// The function of disk `index`.
    pub fn disk_function(&self, index: usize) -> Function<Hosted> {
        self.computer
            .disks()
            .nth(index)
            .expect("the machine has that disk")
            .clone()
    }

    /// Makes disk `index` one that a journey may pull out.
    pub fn make_removable(&mut self, index: usize) {
        let (machine, function) = (self.machine.clone(), self.disk_function(index));
        let requester = function.requester();
        self.computer
            .set_removable(&function, move || machine.remove(requester));
    }

    /// Makes every journey of the catalogue that this computer has what is needed for: all, but for those that rest on what the
    /// host bridge does, of which nobody said anything here.
    pub fn make_every_journey(&mut self, place: &str) {
        self.make_removable(0);
        for journey in journeys::catalogue::journeys::<Hosted>() {
            if journey.needs.contains(Needs::PEERS) {
                continue;
            }
            // SAFETY: nobody else drives the machine.
            let outcome = unsafe { journey.run(&mut self.computer) };
            outcome.unwrap_or_else(|error| panic!("{place}: {}: {error}", journey.name));
        }
    }

    /// Attaches disk `index` behind the IOMMU.
    pub fn attach_disk(&self, index: usize) -> Device<Hosted> {
        let function = self.disk_function(index);
        self.computer
            .system()
            .attach(&function, Protection::Strict)
            .expect("the disk attaches")
    }

    /// Attaches disk `index` as one that is trusted.
    pub fn attach_trusted_disk(&self, index: usize) -> Device<Hosted> {
        let function = self.disk_function(index);
        // SAFETY: the tests that trust a disk give it only addresses of live mappings, and the model stays
        // within them.
        unsafe {
            self.computer
                .system()
                .attach_trusted(&function, Protection::Identity)
        }
        .expect("the disk attaches")
    }

    /// Brings up disk `index` on `device`.
    pub fn start_on<B: DiskMemory<Hosted>>(
        &mut self,
        device: Device<Hosted>,
        index: usize,
        settings: Settings,
    ) -> Result<Nvme<Hosted, B>, StartFailed<Hosted>> {
        let function = self.disk_function(index);
        Nvme::start(device, &function, self.computer.resources_mut(), settings)
    }

    /// Brings up disk `index` behind the IOMMU.
    pub fn start_disk<B: DiskMemory<Hosted>>(
        &mut self,
        index: usize,
        settings: Settings,
    ) -> Nvme<Hosted, B> {
        let device = self.attach_disk(index);
        self.start_on(device, index, settings)
            .expect("the disk comes up")
    }

    /// Shuts everything down and checks that nothing was lost and no model complains.
    pub fn finish(self) {
        self.finish_after_faults(Expected::NoFaults);
    }

    /// As [`finish`](Self::finish), where devices were to be refused.
    pub fn finish_after_faults(self, expected: Expected) {
        let Self {
            machine,
            hosted,
            computer,
        } = self;
        if expected == Expected::NoFaults {
            assert_eq!(computer.system().faults().total, 0);
        }
        let findings: Vec<String> = machine.findings().iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "the models found: {findings:#?}");
        // Before the units are off: then they lead nowhere.
        assert_eq!(
            machine.audit().reachable_bytes(),
            0,
            "a device still reaches memory"
        );
        shut_down(&computer);
        drop(computer);
        machine.shutdown();
        let report = hosted.shutdown();
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

/// Whether devices were refused in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    NoFaults,
    Faults,
}

/// Byte `at` of every test disk: no two blocks are alike, nor a block and its neighbours' middle.
pub fn byte_at(at: u64) -> u8 {
    let word = (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (at % 8))) as u8
}

/// `len_bytes` test bytes from `at` on.
pub fn bytes_at(at: u64, into: &mut [u8]) {
    for (offset, byte) in into.iter_mut().enumerate() {
        *byte = byte_at(at + offset as u64);
    }
}

/// A file of test bytes.
pub fn test_file(len_bytes: u64) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let mut block = vec![0; 1 << 20];
    let mut at = 0;
    while at < len_bytes {
        let len = block.len().min((len_bytes - at) as usize);
        bytes_at(at, &mut block[..len]);
        file.write_all(&block[..len]).expect("the file is written");
        at += len as u64;
    }
    file.seek(SeekFrom::Start(0))
        .expect("a file can be rewound");
    file
}

/// A disk over test bytes, which it may not change.
pub fn test_disk(len_bytes: u64) -> NvmeConfig {
    NvmeConfig::new(test_file(len_bytes), len_bytes, Medium::ReadOnly)
}

/// An empty disk to be written.
pub fn blank_disk(len_bytes: u64) -> NvmeConfig {
    let file = tempfile::tempfile().expect("a temporary file");
    NvmeConfig::new(file, len_bytes, Medium::ReadWrite)
}

/// Reads the first `len_bytes` bytes of a disk of test bytes and checks them.
pub fn read_and_check(disk: &mut Disk<Hosted>, len_bytes: u64) {
    let options = DiskOptions {
        len_bytes: Some(len_bytes),
        ..DiskOptions::default()
    };
    let mut at = 0;
    let mut wanted = Vec::new();
    let report = read_disk(disk, &options, |bytes| {
        wanted.resize(bytes.len(), 0);
        bytes_at(at, &mut wanted);
        assert!(
            bytes == wanted,
            "the disk differs within {} bytes from {at}",
            bytes.len()
        );
        at += bytes.len() as u64;
        Ok::<(), Infallible>(())
    })
    .expect("the disk is read");
    assert_eq!((at, report.len_bytes), (len_bytes, len_bytes));
}

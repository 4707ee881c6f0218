//! A computer of QEMU's models, booted for one test, and the checks at its end.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]

pub mod refusal;
pub mod virtio;
pub mod walk;

use std::convert::Infallible;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use dmamap::bridge::PeerForwarding;
use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::Protection;
use drivers::iommu_testdev::IommuTestdev;
use drivers::nvme::{Nvme, Settings};
use hosted::Hosted;
use hw::iommu_testdev::{DEVICE_ID, VENDOR_ID};
use journeys::Computer;
use journeys::boot::{BootOptions, MachineDescription, boot};
use journeys::disk::{Disk, DiskOptions, read_disk};
use qemu::{Board, Installation, Qemu, QemuConfig};
use rustix::fs::{MemfdFlags, memfd_create};

/// The QEMU of these tests. Where there is none a test passes over it, and says so; with `CI=true` that fails.
pub fn installation() -> Option<Installation> {
    match Installation::find() {
        Ok(installation) => Some(installation),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1") => {
            panic!("with CI=true nothing is skipped: {missing}")
        }
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            None
        }
    }
}

/// `board` with its devices as `with` says.
pub fn start(board: &str, with: impl FnOnce(QemuConfig) -> QemuConfig) -> Option<Arc<Qemu>> {
    let board = Board::named(board).expect("a board of the list");
    let config = with(QemuConfig::new(board));
    Some(Qemu::boot(&installation()?, config).expect("QEMU starts"))
}

/// A booted computer.
pub struct Rig {
    pub qemu: Arc<Qemu>,
    pub hosted: Hosted,
    pub computer: Computer<Hosted>,
}

impl Rig {
    pub fn boot(board: &str, with: impl FnOnce(QemuConfig) -> QemuConfig) -> Option<Self> {
        Self::boot_as(board, BootOptions::default(), with)
    }

    pub fn boot_as(
        board: &str,
        options: BootOptions,
        with: impl FnOnce(QemuConfig) -> QemuConfig,
    ) -> Option<Self> {
        let qemu = start(board, with)?;
        let hosted = Hosted::boot(qemu.clone()).expect("the kernel boots");
        let mut bridges = hosted.host_bridges().expect("the bridge is sound");
        let description = MachineDescription {
            rsdp: hosted.rsdp().expect("the board has ACPI"),
            // As QEMU's root complexes do.
            host_bridge: bridges
                .remove(0)
                .with_peer_forwarding(PeerForwarding::Forwarded),
        };
        // SAFETY: the description is the board's own, which exists for this rig alone.
        let computer = unsafe { boot(hosted, &description, &hosted, options) };
        let computer = match computer {
            Ok(computer) => computer,
            Err(error) => panic!("no boot: {error}; {:?}", qemu.failure()),
        };
        Some(Self {
            qemu,
            hosted,
            computer,
        })
    }

    /// The function of disk `index`.
    pub fn disk_function(&self, index: usize) -> Function<Hosted> {
        let disk = self.computer.disks().nth(index);
        disk.expect("the computer has that disk").clone()
    }

    /// Attaches disk `index`: behind the IOMMU where there is one.
    pub fn attach_disk(&self, index: usize) -> Device<Hosted> {
        let (system, function) = (self.computer.system(), self.disk_function(index));
        let attached = match self.computer.has_iommu() {
            true => system.attach(&function, Protection::Strict),
            // SAFETY: QEMU's disk keeps to the addresses its driver gives it, which are of live mappings.
            false => unsafe { system.attach_trusted(&function, Protection::Identity) },
        };
        attached.expect("the disk attaches")
    }

    /// Brings up disk `index`.
    pub fn start_disk(&mut self, index: usize, settings: Settings) -> Disk<Hosted> {
        let (device, function) = (self.attach_disk(index), self.disk_function(index));
        Nvme::start(device, &function, self.computer.resources_mut(), settings)
            .expect("the disk comes up")
    }

    /// Shuts everything down and checks that nothing was lost, and that QEMU saw nothing wrong.
    pub fn finish(self) {
        assert_eq!(self.computer.system().faults().total, 0);
        self.finish_after_faults();
    }

    /// As [`finish`](Self::finish), where devices were refused.
    pub fn finish_after_faults(self) {
        let Self {
            qemu,
            hosted,
            computer,
        } = self;
        // SAFETY: every device was detached, and QEMU's devices obey their bus-master bit.
        unsafe { computer.system().shutdown() }.expect("the units stop");
        drop(computer);
        assert_eq!(qemu.failure(), None);
        drop(qemu);
        let report = hosted.shutdown();
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

/// Attaches and brings up IOMMU test device `index`: behind the IOMMU where there is one.
pub fn start_testdev(rig: &mut Rig, index: usize) -> IommuTestdev<Hosted> {
    let is_testdev = |function: &&Function<Hosted>| {
        (function.vendor(), function.device()) == (VENDOR_ID, DEVICE_ID)
    };
    let mut functions = rig.computer.topology().functions().filter(is_testdev);
    let function = functions
        .nth(index)
        .expect("the computer has that device")
        .clone();
    drop(functions);
    let system = rig.computer.system();
    let device = match rig.computer.has_iommu() {
        true => system.attach(&function, Protection::Strict),
        // SAFETY: the device writes only where the test tells it to: into the test's own buffers.
        false => unsafe { system.attach_trusted(&function, Protection::Identity) },
    };
    let device = device.expect("the device attaches");
    IommuTestdev::start(device, &function, rig.computer.resources_mut()).expect("it comes up")
}

/// Byte `at` of every test disk.
pub fn byte_at(at: u64) -> u8 {
    let word = (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (at % 8))) as u8
}

/// `into.len()` test bytes from `at` on.
pub fn bytes_at(at: u64, into: &mut [u8]) {
    for (offset, byte) in into.iter_mut().enumerate() {
        *byte = byte_at(at + offset as u64);
    }
}

/// A file of zeros. It is in memory: a busy host may let QEMU wait for a real one longer than a driver waits for QEMU.
pub fn blank_file(len_bytes: u64) -> File {
    let file: File = memfd_create("disk", MemfdFlags::CLOEXEC)
        .expect("the host has files in memory")
        .into();
    file.set_len(len_bytes).expect("a file can grow");
    file
}

/// A file of test bytes.
pub fn test_file(len_bytes: u64) -> File {
    let mut file = blank_file(len_bytes);
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

//! A computer of QEMU's models, booted for one test, and the checks at its end.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]

pub mod refusal;
pub mod virtio;
pub mod walk;

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
use journeys::boot::BootOptions;
use journeys::disk::Disk;
use qemu::{Board, Installation, Qemu, QemuConfig};
use rig::boot_kernel;
use rig::disks::disk_function;

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
        // As QEMU's root complexes do.
        let peers = PeerForwarding::Forwarded;
        let computer = boot_kernel(hosted, hosted, options, peers);
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
        disk_function(&self.computer, index)
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

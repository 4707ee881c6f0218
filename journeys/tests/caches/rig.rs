//! A computer with two copies of memory, driven through a platform that can be made to forget maintenance.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use dmamap::bridge::PeerForwarding;
use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::Protection;
use drivers::nvme::Settings;
use hosted::{Forgetful, Hosted};
use journeys::Computer;
use journeys::boot::BootOptions;
use journeys::catalogue::JourneyError;
use journeys::disk::{Disk, DiskOptions, read_disk, write_disk};
use machine::cache::Snooping;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};

use rig::{boot_kernel, shut_down};

pub(crate) const DISK_BYTES: u64 = (1 << 20) + 512 + 77;

pub(crate) const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// The IOMMUs, by name. Where walks can be told not to snoop, they do not.
pub(crate) fn iommus() -> Vec<(&'static str, Iommu)> {
    let walks = Snooping::Off;
    let scalable = VtdConfig {
        scalable: Some(ScalableMode::default()),
        ..VtdConfig::default()
    };
    vec![
        ("none", Iommu::None),
        (
            "vtd",
            Iommu::Vtd {
                unit: VtdConfig::default(),
                walks,
            },
        ),
        (
            "vtd-scalable",
            Iommu::Vtd {
                unit: scalable,
                walks,
            },
        ),
        (
            "amd",
            Iommu::Amd {
                unit: AmdConfig::default(),
                walks,
            },
        ),
        (
            "smmu",
            Iommu::Smmu {
                unit: SmmuConfig::default(),
                walks,
            },
        ),
        (
            "riscv",
            Iommu::Riscv {
                unit: RiscvConfig::default(),
                // No table of firmware's tells of others.
                walks: Snooping::On,
            },
        ),
        (
            "virtio",
            Iommu::Virtio {
                unit: VirtioConfig::default(),
            },
        ),
    ]
}

/// The computer, with a full disk and an empty one.
pub(crate) fn config(iommu: Iommu, temper: Temper) -> MachineConfig {
    MachineConfig::default()
        .with_iommu(iommu)
        .with_temper(temper)
        .with_devices(Snooping::Off)
}

/// A booted computer.
pub(crate) struct Rig {
    pub(crate) machine: Arc<Machine>,
    pub(crate) kernel: Hosted,
    pub(crate) platform: Forgetful<Hosted>,
    pub(crate) computer: Computer<Forgetful<Hosted>>,
    empty: File,
}

impl Rig {
    pub(crate) fn boot(config: MachineConfig) -> Self {
        let mut full = tempfile::tempfile().expect("a temporary file");
        let mut bytes = vec![0; DISK_BYTES as usize];
        content(0, &mut bytes);
        full.write_all(&bytes).expect("the file is written");
        full.rewind().expect("a file can be rewound");
        let empty = tempfile::tempfile().expect("a temporary file");
        let disks = [
            NvmeConfig::new(full, DISK_BYTES, Medium::ReadOnly),
            NvmeConfig::new(
                empty.try_clone().expect("a file can be shared"),
                DISK_BYTES,
                Medium::ReadWrite,
            ),
        ];
        let config = disks.into_iter().fold(config, MachineConfig::with_disk);
        let machine = Machine::boot(config).expect("the machine is sound");
        let kernel = Hosted::boot(machine.clone()).expect("the kernel boots");
        let platform = Forgetful::new(kernel);
        Self {
            machine,
            kernel,
            platform,
            computer: computer(platform, kernel),
            empty,
        }
    }

    pub(crate) fn attach(
        &self,
        function: &Function<Forgetful<Hosted>>,
    ) -> Device<Forgetful<Hosted>> {
        attach(&self.computer, function)
    }

    pub(crate) fn start_disk(
        &mut self,
        index: usize,
    ) -> Result<Disk<Forgetful<Hosted>>, JourneyError> {
        let function = self
            .computer
            .disks()
            .nth(index)
            .ok_or("no such disk")?
            .clone();
        let device = self.attach(&function);
        let resources = self.computer.resources_mut();
        Disk::start(device, &function, resources, Settings::default())
            .map_err(|failed| failed.error.into())
    }

    /// Reads the full disk and compares.
    pub(crate) fn read(&mut self) -> Result<(), JourneyError> {
        let disk = self.start_disk(0)?;
        read_and_check(disk)
    }

    /// Writes the empty disk, compares what arrived, and reads it back.
    pub(crate) fn write(&mut self) -> Result<(), JourneyError> {
        let mut disk = self.start_disk(1)?;
        write_content(&mut disk)?;
        let mut written = Vec::new();
        self.empty.rewind()?;
        self.empty.read_to_end(&mut written)?;
        let mut wanted = vec![0; DISK_BYTES as usize];
        content(0, &mut wanted);
        if written.get(..wanted.len()) != Some(&wanted[..]) {
            return Err("what is on the disk differs".into());
        }
        read_and_check(disk)
    }

    /// Shuts everything down and checks that nothing was lost and no model complains.
    pub(crate) fn finish(self) {
        let Self {
            machine,
            kernel,
            computer,
            ..
        } = self;
        let findings: Vec<String> = machine.findings().iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "the models found: {findings:#?}");
        assert_eq!(machine.audit().reachable_bytes(), 0);
        shut_down(&computer);
        drop(computer);
        machine.shutdown();
        let report = kernel.shutdown();
        assert!(report.is_clean(), "not given back: {report:?}");
    }
}

/// Boots a computer that nobody else uses, through `platform`, which ends in `kernel`.
pub(crate) fn computer<P: Platform>(platform: P, kernel: Hosted) -> Computer<P> {
    let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
    let computer = boot_kernel(kernel, platform, options, peers);
    computer.expect("the computer boots")
}

/// Attaches a device, with an IOMMU in front of it if there is one.
pub(crate) fn attach<P: Platform>(computer: &Computer<P>, function: &Function<P>) -> Device<P> {
    let system = computer.system();
    let device = match computer.has_iommu() {
        true => system.attach(function, Protection::Strict),
        // SAFETY: the models access what their drivers tell them to, and the drivers unmap only what these have
        // finished with.
        false => unsafe { system.attach_trusted(function, Protection::Identity) },
    };
    device.expect("the device attaches")
}

fn options() -> DiskOptions {
    DiskOptions {
        len_bytes: Some(DISK_BYTES),
        ..DiskOptions::default()
    }
}

/// What every disk holds: no two places are alike.
fn content(at: u64, into: &mut [u8]) {
    for (offset, byte) in into.iter_mut().enumerate() {
        let at = at + offset as u64;
        *byte = ((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (8 * (at % 8))) as u8;
    }
}

pub(crate) fn write_content(disk: &mut Disk<Forgetful<Hosted>>) -> Result<(), JourneyError> {
    let mut at = 0;
    write_disk(disk, &options(), |piece: &mut [u8]| {
        content(at, piece);
        at += piece.len() as u64;
        Ok::<(), Infallible>(())
    })?;
    Ok(())
}

pub(crate) fn read_and_check(mut disk: Disk<Forgetful<Hosted>>) -> Result<(), JourneyError> {
    let mut at = 0;
    let mut wanted = Vec::new();
    let mut differs = None;
    read_disk(&mut disk, &options(), |piece: &[u8]| {
        wanted.resize(piece.len(), 0);
        content(at, &mut wanted);
        if piece != wanted {
            differs.get_or_insert(at);
        }
        at += piece.len() as u64;
        Ok::<(), Infallible>(())
    })?;
    let device = disk.shutdown().map_err(|failed| failed.error)?;
    device.detach()?;
    match differs {
        None => Ok(()),
        Some(at) => Err(format!("what arrived differs within a piece from {at} on").into()),
    }
}

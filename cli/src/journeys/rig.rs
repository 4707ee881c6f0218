//! The computer that the journeys of a row are made on, with two disks of which one is full, and virtio devices.

use std::convert::Infallible;
use std::fmt::Display;
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use board::hardware::Hardware;
use dmamap::bounce::{BounceSettings, Forced};
use dmamap::bridge::PeerForwarding;
use dmamap::system::Protection;
use drivers::nvme::Settings;
use hosted::Hosted;
use journeys::boot::BootOptions;
use journeys::catalogue::JourneyError;
use journeys::differential::{self, differential};
use journeys::disk::{Disk, DiskOptions, read_disk, write_disk};
use journeys::{Computer, Needs};
use machine::cache::Snooping;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::device::virtio::{ConsoleEnd, VirtioDeviceConfig, VirtioKind};
use machine::temper::Temper;
use machine::{Machine, MachineConfig};
use qemu::{Installation, Qemu, QemuConfig};

use super::row::{FEW_LINES, INBOUND_OFFSET, Row, Way};
use super::{Made, Outcome};
use crate::args::{IommuChoice, MachineArgs, RunArgs, Walks};
use crate::board::iommu;
use crate::boards::ListedHardware;
use crate::computer::describe;

/// Length of the disks.
const DISK_BYTES: u64 = 4 << 20;

/// Which of the disks of models is pulled out: the one that no journey of the catalogue uses.
const REMOVABLE: usize = 1;

/// Memory of QEMU's computers: some of it above 4 GiB on every board.
const QEMU_RAM_BYTES: u64 = 4 << 30;

/// What the hardware complains of now.
type Complaints = Box<dyn Fn() -> Vec<String>>;

/// Length of the virtio disk.
const SMALL_DISK_BYTES: u64 = 64 << 10;

/// The virtio devices of a computer of models.
fn virtio_kinds() -> std::io::Result<[VirtioKind; 5]> {
    Ok([
        VirtioKind::Block(small_disk_file()?, Medium::ReadWrite),
        VirtioKind::Net,
        VirtioKind::Console(ConsoleEnd::Loop),
        VirtioKind::Entropy,
        VirtioKind::Gpu(320, 200),
    ])
}

/// Whether the IOMMU's walks see the CPU's caches: where devices do not, no more do they, if firmware can say so.
fn walks(iommu: IommuChoice, devices: Snooping) -> Walks {
    match (devices, iommu) {
        (Snooping::On, _) | (_, IommuChoice::Riscv | IommuChoice::Virtio | IommuChoice::None) => {
            Walks::Snoop
        }
        (Snooping::Off, _) => Walks::NoSnoop,
    }
}

/// A computer of one board with two disks, one full and one empty, and virtio devices.
pub(super) struct Rig {
    kernel: Hosted,
    computer: Computer<Hosted>,
    hardware: Arc<dyn Hardware>,
    /// The hardware, where it is models.
    model: Option<Arc<Machine>>,
    way: Way,
    /// Of the differential run.
    steps: u64,
    /// Whether a journey passed.
    was_used: bool,
    /// What the hardware complains of.
    complaints: Complaints,
}

impl Rig {
    pub(super) fn boot(row: &Row<'_>, temper: Temper) -> Result<Self, JourneyError> {
        let full = disk_file()?;
        let empty = tempfile::tempfile()?;
        empty.set_len(DISK_BYTES)?;
        let mut model = None;
        let (hardware, complaints): (Arc<dyn Hardware>, Complaints) = match &row.board.hardware {
            ListedHardware::Machine(choice) => {
                let args = MachineArgs {
                    iommu: *choice,
                    walks: walks(*choice, row.devices),
                    ..RunArgs::without_file().machine
                };
                let disk = |file, medium| NvmeConfig {
                    address_lines: match row.way {
                        Way::FewLines => FEW_LINES,
                        _ => 64,
                    },
                    ..NvmeConfig::new(file, DISK_BYTES, medium)
                };
                let config = MachineConfig::default()
                    .with_iommu(iommu(&args))
                    .with_temper(temper)
                    .with_devices(row.devices)
                    .with_disk(disk(full, Medium::ReadOnly))
                    .with_disk(disk(empty, Medium::ReadWrite))
                    .with_peer_forwarding(machine::fabric::PeerForwarding::Forwarded);
                let config = match row.way {
                    Way::Offset => config.with_inbound_offset(INBOUND_OFFSET),
                    _ => config,
                };
                let config = virtio_kinds()?.into_iter().fold(config, |config, kind| {
                    config.with_virtio(VirtioDeviceConfig::new(kind))
                });
                let machine = Machine::boot(config)?;
                let said = machine.clone();
                let complaints = move || {
                    let findings = said.findings();
                    let findings = findings.iter().map(ToString::to_string);
                    findings.chain(lost_stores(&said)).collect()
                };
                model = Some(machine.clone());
                (machine, Box::new(complaints))
            }
            ListedHardware::Qemu(board) => {
                let config = QemuConfig::new(board)
                    .with_ram(QEMU_RAM_BYTES)
                    .with_edu()
                    .with_disk(qemu::Disk::nvme(full, qemu::Medium::ReadOnly))
                    .with_disk(qemu::Disk::nvme(empty, qemu::Medium::ReadWrite))
                    .with_virtio(qemu::looped_network()?)
                    .with_virtio(qemu::looped_console()?)
                    .with_disk(qemu::Disk::virtio(
                        small_disk_file()?,
                        qemu::Medium::ReadWrite,
                    ))
                    .with_virtio(qemu::VirtioDevice::Rng)
                    .with_virtio(qemu::VirtioDevice::Gpu);
                let qemu = Qemu::boot(&Installation::find()?, config)?;
                let said = qemu.clone();
                let complaints = move || said.failure().iter().map(ToString::to_string).collect();
                (qemu, Box::new(complaints))
            }
        };
        let kernel = Hosted::boot(hardware.clone())?;
        let mut description = describe(kernel).map_err(|error| error.to_string())?;
        // Both models of host bridges do.
        description.host_bridge = description
            .host_bridge
            .with_peer_forwarding(PeerForwarding::Forwarded);
        let options = BootOptions {
            protection: row.way.protection(),
            ..BootOptions::default()
        };
        // SAFETY: the description and the tables are those of hardware made for this kernel alone.
        let mut computer = unsafe { journeys::boot::boot(kernel, &description, &kernel, options)? };
        let removable = computer.disks().nth(REMOVABLE).cloned();
        if let (Some(model), Some(disk)) = (&model, removable) {
            let (model, requester) = (model.clone(), disk.requester());
            computer.set_removable(&disk, move || model.remove(requester));
        }
        if row.way == Way::Bounced {
            computer.system().set_bounce(BounceSettings {
                forced: Forced::Always,
                ..BounceSettings::default()
            });
        }
        Ok(Self {
            kernel,
            computer,
            hardware,
            model,
            way: row.way,
            steps: row.steps,
            was_used: false,
            complaints,
        })
    }

    pub(super) fn make(&mut self, journey: &Made) -> Outcome {
        let needs = match journey {
            Made::ReadDisk | Made::WriteDisk => Needs::DISK,
            Made::Listed(journey) => journey.needs,
            Made::Differential { .. } => differential::NEEDS,
        };
        if let Err(unmet) = needs.check(&self.computer) {
            return Outcome::Cannot(unmet.to_string());
        }
        let outcome = match journey {
            Made::ReadDisk => self.read(),
            Made::WriteDisk => self.write(),
            // SAFETY: nobody else drives the computer, and the boards' virtio devices keep to what they are told.
            Made::Listed(journey) => unsafe { journey.run(&mut self.computer) },
            Made::Differential { seed } => differential(&mut self.computer, *seed, self.steps)
                .map(drop)
                .map_err(Into::into),
        };
        match outcome {
            Ok(()) => {
                self.was_used = true;
                Outcome::Passed
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    fn start(&mut self, index: usize) -> Result<Disk<Hosted>, JourneyError> {
        let function = self.computer.disks().nth(index).ok_or("no such disk")?;
        let function = function.clone();
        // SAFETY: a disk accesses what its driver tells it to, and the driver unmaps only what it has finished with.
        let device = unsafe { self.computer.attach_or_trust(&function)? };
        let resources = self.computer.resources_mut();
        Disk::start(device, &function, resources, Settings::default())
            .map_err(|failed| failed.error.into())
    }

    fn read(&mut self) -> Result<(), JourneyError> {
        let mut disk = self.start(0)?;
        read_and_check(&mut disk)?;
        self.finish(disk, DISK_BYTES)
    }

    fn write(&mut self) -> Result<(), JourneyError> {
        let mut disk = self.start(1)?;
        let mut at = 0;
        write_disk(&mut disk, &options(), |piece: &mut [u8]| {
            content(at, piece);
            at += piece.len() as u64;
            Ok::<(), Infallible>(())
        })?;
        read_and_check(&mut disk)?;
        self.finish(disk, 2 * DISK_BYTES)
    }

    /// Gives a disk back that `moved_bytes` went to or came from, by the row's way and no other.
    fn finish(&self, disk: Disk<Hosted>, moved_bytes: u64) -> Result<(), JourneyError> {
        let device = disk.shutdown().map_err(|failed| failed.error)?;
        let (figures, flushed) = (device.figures(), device.flush_figures());
        let copied = figures.bounced_bytes;
        let deferred = flushed.retired > 0 && flushed.flushes > 0;
        let strayed = match self.way {
            Way::Translated(Protection::Bounce) | Way::Bounced => {
                copied < moved_bytes || flushed.retired > 0
            }
            Way::Translated(Protection::Deferred) => !deferred || copied > 0,
            Way::Translated(_) | Way::Direct | Way::Offset => flushed.retired > 0 || copied > 0,
            Way::FewLines => copied == 0,
        };
        device.detach()?;
        match strayed {
            false => Ok(()),
            true => Err(format!(
                "{moved_bytes} bytes of a disk did not go the row's way: {copied} were copied, {} unmaps left to {} flushes",
                flushed.retired, flushed.flushes
            )
            .into()),
        }
    }

    /// The first thing the hardware complains of.
    pub(super) fn complaint(&self) -> Option<String> {
        (self.complaints)().into_iter().next()
    }

    /// After a failure: devices may still be attached, so the hardware just goes.
    pub(super) fn abandon(self) {
        self.kernel.shutdown();
    }

    pub(super) fn shut_down(self) -> Result<(), JourneyError> {
        let Self {
            kernel,
            computer,
            hardware,
            model,
            was_used,
            ..
        } = self;
        let caches = model.as_ref().and_then(|model| model.caches());
        if was_used && caches.is_some_and(|caches| caches.cleaned_dirty_lines == 0) {
            return Err("no line was written back that the CPU had written".into());
        }
        drop(model);
        // SAFETY: every device was detached, and the models obey their bus-master bit.
        unsafe { computer.system().shutdown()? };
        drop((computer, hardware));
        let report = kernel.shutdown();
        match report.is_clean() {
            true => Ok(()),
            false => Err(format!("not given back: {report:?}").into()),
        }
    }
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

fn disk_file() -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let mut bytes = vec![0; DISK_BYTES as usize];
    content(0, &mut bytes);
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file)
}

fn small_disk_file() -> std::io::Result<File> {
    let file = tempfile::tempfile()?;
    file.set_len(SMALL_DISK_BYTES)?;
    Ok(file)
}

/// That stores of the CPU were dropped from its caches, if some were.
fn lost_stores(machine: &Machine) -> Option<String> {
    let lost = machine.caches()?.invalidated_dirty_lines;
    (lost > 0)
        .then(|| format!("{lost} lines that the CPU had written were dropped from its caches"))
}

/// Reads a disk whole and compares.
fn read_and_check(disk: &mut Disk<Hosted>) -> Result<(), JourneyError> {
    let mut at = 0;
    let mut wanted = Vec::new();
    let mut differs = None;
    read_disk(disk, &options(), |piece: &[u8]| {
        wanted.resize(piece.len(), 0);
        content(at, &mut wanted);
        if piece != wanted {
            differs.get_or_insert(at);
        }
        at += piece.len() as u64;
        Ok::<(), Infallible>(())
    })?;
    match differs {
        None => Ok(()),
        Some(at) => Err(differs_at(at)),
    }
}

fn differs_at(at: impl Display) -> JourneyError {
    format!("what arrived differs from byte {at} on").into()
}

//! The published crate `virtio-drivers` over `dmamap`: its disk, network, console, entropy and graphics drivers on the
//! models of those devices, behind every kind of IOMMU, and what becomes of devices that lie.

mod everywhere;
mod failures;
mod hostile;
mod together;

use std::time::Duration;

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::Protection;
use hosted::Hosted;
use machine::MachineConfig;
use machine::device::nvme::Medium;
use machine::device::virtio::{ConsoleEnd, Misbehaviour, VirtioDeviceConfig, VirtioKind};
use rig::Rig;
use rig::disks::test_file;

/// After which what should have come long ago counts as never, however busy the host is.
const NEVER: Duration = Duration::from_secs(100);

/// Bytes of the disk that is read and written.
const DISK_BYTES: u64 = 64 << 10;

/// All devices that the journeys need.
fn with_all(config: MachineConfig) -> MachineConfig {
    let kinds = [
        VirtioKind::Block(test_file(DISK_BYTES), Medium::ReadWrite),
        VirtioKind::Net,
        VirtioKind::Console(ConsoleEnd::Loop),
        VirtioKind::Entropy,
        VirtioKind::Gpu(320, 200),
    ];
    kinds.into_iter().fold(config, |config, kind| {
        config.with_virtio(VirtioDeviceConfig::new(kind))
    })
}

/// A machine with one device, which misbehaves.
fn with(kind: VirtioKind, misbehaviour: Misbehaviour) -> Rig {
    let device = VirtioDeviceConfig::new(kind).with_misbehaviour(misbehaviour);
    // Little memory: some tests take all of it.
    let config = MachineConfig::default().with_ram(64 << 20);
    Rig::boot(config.with_virtio(device))
}

/// Attaches the device of that type and index: behind the IOMMU where there is one.
fn attach(rig: &Rig, kind: u32, index: usize) -> (Device<Hosted>, Function<Hosted>) {
    let function = rig.computer.virtio_devices(kind).nth(index);
    let function = function.expect("the machine has it").clone();
    let system = rig.computer.system();
    let attached = match rig.computer.has_iommu() {
        true => system.attach(&function, Protection::Strict),
        // SAFETY: the model keeps to the addresses that its driver tells it of, which are of live mappings.
        false => unsafe { system.attach_trusted(&function, Protection::Identity) },
    };
    (attached.expect("it attaches"), function)
}

/// Detaches a device to which nothing may be lent any more.
fn detach(device: Device<Hosted>) {
    let figures = device.figures();
    let left = (figures.live_mappings, figures.quarantined_bytes);
    assert_eq!((left, figures.maps - figures.unmaps), ((0, 0), 0));
    device.detach().expect("it is detached");
}

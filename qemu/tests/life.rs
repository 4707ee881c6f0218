//! Devices that go and units that sleep. A disk of QEMU's that is pulled out, by a hand between the kernel and QEMU: its registers read as all ones.
//!
//! QEMU's own way to pull a device out waits for a guest that presses a button back, or whose firmware does.

mod support;

use std::ops::Range;
use std::sync::Arc;

use board::between::Between;
use board::hardware::{Hardware, Width};
use dmamap::bridge::PeerForwarding;
use dmamap::pci::BusMaster;
use hosted::Hosted;
use hw::pci::config::{COMMAND, Command};
use journeys::boot::BootOptions;
use journeys::surprise_removal::surprise_removal;
use parking_lot::Mutex;
use qemu::{Disk, Medium, Qemu};
use rig::boot_kernel;
use rig::disks::test_file;
use support::{Rig, start};

/// Where q35 has its configuration space.
const ECAM: u64 = 0xb000_0000;

/// A computer of QEMU's, parts of which can be gone.
struct Pulled {
    qemu: Arc<Qemu>,
    gone: Mutex<Vec<Range<u64>>>,
}

impl Pulled {
    fn is_gone(&self, phys: u64) -> bool {
        self.gone.lock().iter().any(|range| range.contains(&phys))
    }
}

impl Between for Pulled {
    fn board(&self) -> &dyn Hardware {
        &*self.qemu
    }

    fn on_read(&self, phys: u64, width: Width) -> u64 {
        match self.is_gone(phys) {
            true => width.ones(),
            false => self.qemu.read(phys, width),
        }
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        if !self.is_gone(phys) {
            self.qemu.write(phys, width, value);
        }
    }
}

fn pulled_out_on(board: &str) {
    let with = |config: qemu::QemuConfig| {
        config.with_disk(Disk::nvme(test_file(1 << 20), Medium::ReadOnly))
    };
    let Some(qemu) = start(board, with) else {
        return;
    };
    let pulled = Arc::new(Pulled {
        qemu: qemu.clone(),
        gone: Mutex::default(),
    });
    let kernel = Hosted::boot(pulled.clone()).expect("the kernel boots");
    let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
    let computer = boot_kernel(kernel, kernel, options, peers);
    let mut computer = computer.expect("it boots");
    let function = computer.disks().next().expect("the disk").clone();
    let configuration = ECAM + (u64::from(function.requester()) << 12);
    let bars = function.bars().iter().flatten().filter_map(|bar| bar.phys);
    let ranges: Vec<_> = bars
        .map(|range| range.start().as_u64()..range.last().as_u64() + 1)
        .chain([configuration..configuration + 4096])
        .collect();
    let pull_out = || pulled.gone.lock().extend(ranges);
    // SAFETY: the disk is behind an IOMMU.
    unsafe { surprise_removal(&mut computer, pull_out) }.expect("the driver is told");
    assert_eq!(computer.system().faults().total, 0);
    // SAFETY: every device was detached, and nobody tells QEMU's disk anything any more.
    unsafe { computer.system().shutdown() }.expect("the units stop");
    drop((function, computer));
    assert_eq!(qemu.failure(), None);
    assert!(kernel.shutdown().is_clean());
}

#[test]
fn a_disk_that_is_pulled_out_of_vtd_holds_nobody_up() {
    pulled_out_on("q35-vtd");
}

#[test]
fn a_disk_that_is_pulled_out_of_amd_vi_holds_nobody_up() {
    pulled_out_on("q35-amd");
}

#[test]
fn a_disk_that_is_pulled_out_of_virtio_holds_nobody_up() {
    pulled_out_on("q35-virtio");
}

#[test]
fn a_unit_that_is_a_function_masters_the_bus_again_after_it_slept() {
    let Some(rig) = Rig::boot("q35-virtio", |config| config) else {
        return;
    };
    let (system, topology) = (rig.computer.system(), rig.computer.topology());
    let masters = || {
        let functions = topology.functions().filter(|one| !one.is_bridge());
        let masters = functions.filter(|one| one.read_bus_master() == BusMaster::On);
        masters.map(|one| one.requester()).collect::<Vec<_>>()
    };
    let units = masters();
    assert_eq!(units.len(), 1, "nobody attached a device");
    let suspended = system.suspend(topology).expect("it sleeps");
    // A loss of power takes this too.
    let command = ECAM + (u64::from(units[0]) << 12) + u64::from(COMMAND);
    let none = Command::new().into_bits();
    rig.qemu.write(command, Width::Word, none.into());
    assert_eq!(masters(), [0_u16; 0]);
    // SAFETY: no device is a bus master.
    let resumed = unsafe { system.resume(suspended) }.expect("the unit reads its commands");
    assert_eq!(resumed.lost, []);
    assert_eq!(masters(), units);
    rig.finish();
}

//! Configuration beyond base addresses: a reset and a loss of power take it, and it comes back whole.

use board::hardware::{Hardware, Width};
use dmamap::pci::{Function, ResetPatience};
use hosted::Hosted;
use hw::pci::capability::{extended_id, id};
use hw::pci::config::EXPANSION_ROM;
use hw::pci::control::{
    LINK_CONTROL, LINK_CONTROL_2, ROOT_CONTROL, aer, ats, ltr, pasid, pri, resizable_bar,
};
use hw::pci::reset::{DEVICE_CONTROL, DEVICE_CONTROL_2};
use machine::Machine;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::pci::controls::Controls;
use machine::pci::reset::Resets;

use crate::reset::DISK;
use rig::{Rig, small};

/// Where the configuration space of bus 0 begins.
const ECAM: u64 = 0xe000_0000;

/// A register that a test sets, its width, and what it is set to.
type Setting = (u16, Width, u64);

fn boot() -> Rig {
    let file = tempfile::tempfile().expect("the host has room");
    let disk = NvmeConfig::new(file, 1 << 20, Medium::ReadWrite);
    let resets = Resets {
        controls: Controls::All,
        ..Resets::default()
    };
    Rig::boot(small().with_disk(disk).with_resets(resets))
}

fn place(function: &Function<Hosted>, offset: u16) -> u64 {
    ECAM + (u64::from(function.requester()) << 12) + u64::from(offset)
}

/// All of its configuration space.
fn read_all(machine: &Machine, function: &Function<Hosted>) -> Vec<u64> {
    let dwords = (0..0x1000).step_by(4);
    dwords
        .map(|offset| machine.read(place(function, offset), Width::Dword))
        .collect()
}

/// Sets each, past the kernel, and returns what all of them are then.
fn set(machine: &Machine, function: &Function<Hosted>, settings: &[Setting]) -> Vec<u64> {
    for &(offset, width, value) in settings {
        let before = machine.read(place(function, offset), width);
        machine.write(place(function, offset), width, value);
        let now = machine.read(place(function, offset), width);
        assert_eq!(now, value, "register {offset:#x} holds what is written");
        assert_ne!(now, before, "register {offset:#x} was that before");
    }
    read_all(machine, function)
}

fn of_endpoint(function: &Function<Hosted>) -> Vec<Setting> {
    let express = function.capability(id::PCI_EXPRESS).unwrap();
    let at = |id| function.extended_capability(id).unwrap();
    let errors = at(extended_id::AER);
    let (dword, word) = (Width::Dword, Width::Word);
    vec![
        (EXPANSION_ROM, dword, 0xfe8a_0000),
        (express + DEVICE_CONTROL, word, 0x2936),
        (express + DEVICE_CONTROL_2, word, 0x0415),
        (express + LINK_CONTROL, word, 0x0142),
        (express + LINK_CONTROL_2, word, 0x0003),
        (errors + aer::UNCORRECTABLE_MASK, dword, 0x0010_0000),
        (errors + aer::UNCORRECTABLE_SEVERITY, dword, 0x0046_2030),
        (errors + aer::CORRECTABLE_MASK, dword, 0x2000),
        (errors + aer::CONTROL, dword, 0x0140),
        (
            at(extended_id::LTR) + ltr::MAX_LATENCIES,
            dword,
            0x1003_1003,
        ),
        (at(extended_id::PASID) + pasid::CONTROL, word, 0x0003),
        (at(extended_id::PRI) + pri::ALLOCATION, dword, 32),
        (at(extended_id::PRI) + pri::CONTROL, word, 0x0001),
        (at(extended_id::ATS) + ats::CONTROL, word, 0x8005),
        (
            at(extended_id::RESIZABLE_BAR) + resizable_bar::control(0),
            dword,
            0x0720,
        ),
    ]
}

fn of_root_port(function: &Function<Hosted>) -> Vec<Setting> {
    let express = function.capability(id::PCI_EXPRESS).unwrap();
    let errors = function.extended_capability(extended_id::AER).unwrap();
    let (dword, word) = (Width::Dword, Width::Word);
    vec![
        (express + DEVICE_CONTROL_2, word, 0x0420),
        (express + LINK_CONTROL, word, 0x0042),
        (express + LINK_CONTROL_2, word, 0x0004),
        (express + ROOT_CONTROL, word, 0x0007),
        (errors + aer::CORRECTABLE_MASK, dword, 0x1000),
        (errors + aer::ROOT_COMMAND, dword, 0x0007),
    ]
}

#[test]
fn a_reset_gives_all_control_registers_back() {
    let rig = boot();
    let function = rig.function(DISK);
    let mut device = rig.attach(DISK);
    let before = set(&rig.machine, &function, &of_endpoint(&function));
    device.reset(ResetPatience::default()).unwrap();
    let after = read_all(&rig.machine, &function);
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before, after, "register {:#x}", 4 * index);
    }
    device.detach().unwrap();
    drop(function);
    rig.finish();
}

#[test]
fn a_loss_of_power_gives_all_control_registers_back_those_of_ports_too() {
    let rig = boot();
    let device = rig.attach(DISK);
    let disk = rig.function(DISK);
    let port = disk.path().next().unwrap().clone();
    let set_of = [(&disk, of_endpoint(&disk)), (&port, of_root_port(&port))];
    let before: Vec<_> = set_of
        .iter()
        .map(|(function, settings)| set(&rig.machine, function, settings))
        .collect();
    // Windows and bus numbers of the port are among them.
    assert_ne!(before[1][0x18 / 4] & 0xff_ff00, 0);
    assert_ne!(before[1][0x20 / 4], 0);
    let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
    rig.machine.power_cycle();
    for (offset, width, value) in of_root_port(&port) {
        let now = rig.machine.read(place(&port, offset), width);
        assert_ne!(
            now, value,
            "register {offset:#x} of the port went with the power"
        );
    }
    // SAFETY: the devices had no power and obey their bus-master bits.
    let resumed = unsafe { rig.system().resume(suspended) }.unwrap();
    assert_eq!(resumed.lost, []);
    for ((function, _), before) in set_of.iter().zip(&before) {
        let after = read_all(&rig.machine, function);
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            let address = function.address();
            assert_eq!(before, after, "{address}: register {:#x}", 4 * index);
        }
    }
    device.detach().unwrap();
    drop(set_of);
    drop((disk, port));
    rig.finish();
}

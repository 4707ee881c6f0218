//! What the tests use in place of a kernel: configuration accesses, and buses and BARs put where they like.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;

use board as _;
use board::hardware::{Hardware, Width};
use machine::{Iommu, Machine, MachineConfig};

pub(crate) const ECAM: u64 = 0xe000_0000;
/// The bus and physical addresses of the window for memory registers.
pub(crate) const MEMORY: (u64, u64) = (0x8000_0000, 0xc000_0000);
/// The same for prefetchable memory.
pub(crate) const PREFETCHABLE: (u64, u64) = (0x40_0000_0000, 0x60_0000_0000);
/// Where IO port 0 is.
pub(crate) const IO_PHYS: u64 = 0xd800_0000;

/// A function by bus, device and function numbers.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) fn small() -> MachineConfig {
    MachineConfig::default().with_ram(16 << 20)
}

pub(crate) fn without_iommu() -> Arc<Machine> {
    Machine::boot(small().with_iommu(Iommu::None)).unwrap()
}

pub(crate) fn read(machine: &Machine, at: At, register: u64, width: Width) -> u64 {
    machine.read(config(at, register), width)
}

pub(crate) fn write(machine: &Machine, at: At, register: u64, width: Width, value: u64) {
    machine.write(config(at, register), width, value);
}

fn config(At(bus, device, function): At, register: u64) -> u64 {
    ECAM + (u64::from(bus) << 20 | u64::from(device) << 15 | u64::from(function) << 12 | register)
}

/// Memory decode, IO decode and bus master.
pub(crate) fn enable(machine: &Machine, at: At) {
    write(machine, at, 4, Width::Word, 7);
}

/// Bus numbers and windows of a bridge, all as first and last address.
pub(crate) struct Windows {
    pub(crate) memory: (u64, u64),
    pub(crate) prefetchable: (u64, u64),
    pub(crate) io: (u64, u64),
}

pub(crate) fn program_bridge(machine: &Machine, at: At, buses: (u8, u8), windows: &Windows) {
    let put = |register, width, value| write(machine, at, register, width, value);
    put(0x18, Width::Byte, at.0.into());
    put(0x19, Width::Byte, buses.0.into());
    put(0x1a, Width::Byte, buses.1.into());
    put(0x1c, Width::Byte, windows.io.0 >> 8 & 0xf0);
    put(0x1d, Width::Byte, windows.io.1 >> 8 & 0xf0);
    put(0x30, Width::Word, windows.io.0 >> 16);
    put(0x32, Width::Word, windows.io.1 >> 16);
    put(0x20, Width::Word, windows.memory.0 >> 16);
    put(0x22, Width::Word, windows.memory.1 >> 16);
    put(0x24, Width::Word, windows.prefetchable.0 >> 16 & 0xfff0);
    put(0x26, Width::Word, windows.prefetchable.1 >> 16 & 0xfff0);
    put(0x28, Width::Dword, windows.prefetchable.0 >> 32);
    put(0x2c, Width::Dword, windows.prefetchable.1 >> 32);
    enable(machine, at);
}

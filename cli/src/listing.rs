//! The resource tree and the devices, as text.

use std::process::ExitCode;

use dmamap::mmio::Mmio;
use dmamap::pci::{Bar, Function};
use hosted::Hosted;
use machine::device::nvme::Medium;

use crate::args::MachineArgs;
use crate::board::DiskSpec;
use crate::computer::Booted;
use crate::error::Error;
use crate::input::Input;
use crate::output::Output;

/// `dmamap iomem`.
pub(crate) fn iomem_command(args: &MachineArgs, output: &mut Output) -> Result<ExitCode, Error> {
    list(args, |booted| iomem(booted, output))
}

/// `dmamap pci`.
pub(crate) fn pci_command(args: &MachineArgs, output: &mut Output) -> Result<ExitCode, Error> {
    list(args, |booted| pci(booted, output))
}

/// Shows something of the computer that `dmamap` alone would read its disk on.
fn list(args: &MachineArgs, show: impl FnOnce(&mut Booted)) -> Result<ExitCode, Error> {
    let input = Input::open(None)?;
    let disk = DiskSpec::new(input.file, input.len_bytes, Medium::ReadOnly);
    let mut booted = Booted::boot(args, vec![disk])?;
    show(&mut booted);
    let board = booted.board.clone();
    booted.shut_down().map_err(|error| board.explained(error))?;
    Ok(ExitCode::SUCCESS)
}

/// Who holds which physical addresses.
pub(crate) fn iomem(booted: &Booted, output: &mut Output) {
    let tree = booted.computer.resources().to_string();
    output.line(tree.trim_end());
}

/// Every device, and each BAR's A, B and C; and which devices share a domain, and why.
pub(crate) fn pci(booted: &mut Booted, output: &mut Output) {
    let functions: Vec<Function<Hosted>> =
        booted.computer.topology().functions().cloned().collect();
    let mut borrowed = Vec::new();
    for function in &functions {
        let behind = match function.buses() {
            Some(buses) => format!(
                "  bridge to buses {:02x}-{:02x}",
                buses.secondary, buses.subordinate
            ),
            None => String::new(),
        };
        output.line(format_args!(
            "{} {:04x}:{:04x} class {:06x} {}{behind}",
            function.address(),
            function.vendor(),
            function.device(),
            function.class(),
            class_name(function.class()),
        ));
        for bar in function.bars().iter().flatten() {
            let line = bar_line(booted, function, bar, &mut borrowed);
            output.line(format_args!("    {line}"));
        }
    }
    for problem in booted.computer.topology().problems() {
        output.line(format_args!("problem: {problem}"));
    }
    let groups = booted.computer.system().groups();
    for group in groups.iter().filter(|group| group.members().len() > 1) {
        output.line(format_args!("group: {group}"));
    }
}

/// One BAR. C exists only while somebody has the registers mapped: where no driver has, they are mapped here,
/// and go to `borrowed` so that no other BAR gets the same C.
fn bar_line(
    booted: &mut Booted,
    function: &Function<Hosted>,
    bar: &Bar,
    borrowed: &mut Vec<Mmio<Hosted>>,
) -> String {
    let Bar { index, kind, .. } = bar;
    let len = bar.bus.len_bytes();
    let Some(phys) = bar.phys else {
        return format!("BAR{index} {kind}, {len:#x} bytes: not assigned");
    };
    let virt = match booted.kernel.ioremapped(phys.start()) {
        Some(virt) => format!("{virt:#x}"),
        None => match function.claim_bar(*index, "dmamap", booted.computer.resources_mut()) {
            Ok(registers) => {
                let virt = registers.virt().start();
                borrowed.push(registers);
                format!("{virt:#x}")
            }
            Err(error) => error.to_string(),
        },
    };
    format!(
        "BAR{index} {kind}, {len:#x} bytes: A {:#x}  B {:#x}  C {virt}",
        bar.bus.start(),
        phys.start(),
    )
}

/// The usual name of a class (PCI code and ID assignment), for the devices a reader may meet here.
fn class_name(class: u32) -> &'static str {
    match class >> 8 {
        0x0108 => "NVMe controller",
        0x0600 => "host bridge",
        0x0604 => "PCI bridge",
        0x0700 => "serial controller",
        0x0880 => "system peripheral",
        0xff00 => "unclassified device",
        _ => "device",
    }
}

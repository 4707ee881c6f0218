//! The resource tree and the devices, as text.

use std::process::ExitCode;

use dmamap::pci::{Bar, Function};
use hosted::Hosted;

use crate::args::MachineArgs;
use crate::computer::Booted;
use crate::error::Error;
use crate::output::Output;

/// `dmamap iomem`.
pub(crate) fn iomem_command(args: &MachineArgs, output: &mut Output) -> Result<ExitCode, Error> {
    let booted = Booted::boot(args, Vec::new())?;
    iomem(&booted, output);
    booted.shut_down()?;
    Ok(ExitCode::SUCCESS)
}

/// `dmamap pci`.
pub(crate) fn pci_command(args: &MachineArgs, output: &mut Output) -> Result<ExitCode, Error> {
    let mut booted = Booted::boot(args, Vec::new())?;
    pci(&mut booted, output);
    booted.shut_down()?;
    Ok(ExitCode::SUCCESS)
}

/// Who holds which physical addresses.
pub(crate) fn iomem(booted: &Booted, output: &mut Output) {
    output.line(format_args!("{}", booted.computer.resources().to_string().trim_end()));
}

/// Every device, and each BAR's A, B and C.
pub(crate) fn pci(booted: &mut Booted, output: &mut Output) {
    let functions: Vec<Function<Hosted>> = booted.computer.topology().functions().cloned().collect();
    for function in &functions {
        let behind = match function.buses() {
            Some(buses) => format!("  bridge to buses {:02x}-{:02x}", buses.secondary, buses.subordinate),
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
            output.line(format_args!("    {}", bar_line(booted, function, bar)));
        }
    }
    for problem in booted.computer.topology().problems() {
        output.line(format_args!("problem: {problem}"));
    }
}

fn bar_line(booted: &mut Booted, function: &Function<Hosted>, bar: &Bar) -> String {
    let len = bar.bus.len_bytes();
    let Some(phys) = bar.phys else {
        return format!("BAR{} {:?} {len:#x} bytes: not assigned", bar.index, bar.kind);
    };
    // C exists only while somebody has the registers mapped: map them for as long as it takes to look.
    let mapped = function.claim_bar(bar.index, "dmamap", booted.computer.resources_mut());
    let virt = match &mapped {
        Ok(mmio) => format!("{:#x}", mmio.virt().start()),
        Err(error) => error.to_string(),
    };
    format!(
        "BAR{} {:?} {len:#x} bytes: A {:#x}  B {:#x}  C {virt}",
        bar.index,
        bar.kind,
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
        _ => "device",
    }
}

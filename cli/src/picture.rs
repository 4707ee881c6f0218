//! The picture of the two journeys, with the real addresses of one register and one live buffer.

use dmamap::addr::{BusAddr, PhysAddr, VirtAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::map::FromDevice;
use dmamap::pci::Function;
use hosted::Hosted;
use journeys::disk::Disk;

use crate::args::{IommuChoice, Policy, RunArgs};
use crate::bring_up::refused;
use crate::error::Error;

/// Addresses of one register and of one buffer that was mapped when they were taken.
pub(crate) struct Picture {
    a: BusAddr,
    b: PhysAddr,
    c: VirtAddr,
    x: VirtAddr,
    y: PhysAddr,
    z: BusAddr,
    /// What Z leads to instead of Y, where the disk was given a copy.
    copy: Option<PhysAddr>,
    /// What makes Y of Z.
    from_bus: &'static str,
}

impl Picture {
    /// Maps a buffer for the disk, looks, and unmaps it.
    pub(crate) fn take(
        args: &RunArgs,
        disk: &Disk<Hosted>,
        function: &Function<Hosted>,
    ) -> Result<Self, Error> {
        let device = disk.device();
        let bar = function
            .bar(0)
            .ok_or_else(|| Error::failed("the disk has no BAR 0"))?;
        let buffer = DmaBuffer::allocate(device.platform(), 4096)
            .map_err(|error| refused(args, device.platform(), &error))?;
        let mapping = device
            .map_single(buffer, FromDevice)
            .map_err(|rejected| refused(args, device.platform(), &rejected.error))?;
        let (x, z) = (mapping.virt(), mapping.bus_addr());
        let reached = device
            .translate(z)
            .ok_or_else(|| Error::failed(format!("bus {z} leads nowhere")))?;
        let buffer = mapping.unmap().map_err(Error::failed)?;
        let y = buffer.segment(0).start();
        let registers = disk.registers();
        Ok(Self {
            a: bar.bus.start(),
            b: registers.phys().start(),
            c: registers.virt().start(),
            x,
            y,
            z,
            copy: (reached != y).then_some(reached),
            from_bus: match (args.machine.iommu, args.policy) {
                (IommuChoice::None, _) => "host bridge",
                (_, Policy::Identity) => "IOMMU, identity",
                (_, Policy::Strict | Policy::Deferred | Policy::Bounce) => "IOMMU",
            },
        })
    }
}

/// Each arrow leads from an address to the one that was found from it.
impl std::fmt::Display for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            a, b, c, x, y, z, ..
        } = self;
        let (ioremap, page_tables) = (left("ioremap"), right("page tables"));
        let (window, from_bus) = (left("host bridge"), left(self.from_bus));
        let arrow = ioremap.chars().count();
        writeln!(
            f,
            "  {:<18} {:arrow$} {:<16} {:arrow$} bus",
            "CPU virtual", "", "CPU physical", ""
        )?;
        writeln!(
            f,
            "  C {c:<#16x} {ioremap} B {b:<#14x} {window} A {a:<#14x}  a register of the disk"
        )?;
        write!(
            f,
            "  X {x:<#16x} {page_tables} Y {y:<#14x} {from_bus} Z {z:<#14x}  a buffer, while mapped"
        )?;
        match self.copy {
            Some(copy) => write!(
                f,
                "\n  the disk is not given Y: Z leads to a copy of the buffer, at {copy:#x}"
            ),
            None => Ok(()),
        }
    }
}

fn right(label: &str) -> String {
    format!("── {:─<18}►", format!("{label} "))
}

fn left(label: &str) -> String {
    format!("◄── {:─<18}", format!("{label} "))
}

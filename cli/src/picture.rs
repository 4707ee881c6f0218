//! The picture of the two journeys, with the real addresses of one register and one live buffer.

use dmamap::addr::{BusAddr, PhysAddr, VirtAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::map::FromDevice;
use dmamap::pci::Function;
use hosted::Hosted;
use journeys::disk::Disk;

use crate::error::Error;

/// Addresses of one register and of one buffer that was mapped when they were taken.
pub(crate) struct Picture {
    a: BusAddr,
    b: PhysAddr,
    c: VirtAddr,
    x: VirtAddr,
    y: PhysAddr,
    z: BusAddr,
}

impl Picture {
    /// Maps a buffer for the disk, looks, and unmaps it.
    pub(crate) fn take(disk: &Disk<Hosted>, function: &Function<Hosted>) -> Result<Self, Error> {
        let device = disk.device();
        let bar = function
            .bar(0)
            .ok_or_else(|| Error::failed("the disk has no BAR 0"))?;
        let buffer = DmaBuffer::allocate(device.platform(), 4096).map_err(Error::failed)?;
        let mapping = device
            .map_single(buffer, FromDevice)
            .map_err(Error::failed)?;
        let (x, z) = (mapping.virt(), mapping.bus_addr());
        let y = device
            .translate(z)
            .ok_or_else(|| Error::failed(format!("bus {z} leads nowhere")))?;
        let buffer = mapping.unmap().map_err(Error::failed)?;
        debug_assert_eq!(buffer.segment(0).start(), y);
        let registers = disk.registers();
        Ok(Self {
            a: bar.bus.start(),
            b: registers.phys().start(),
            c: registers.virt().start(),
            x,
            y,
            z,
        })
    }
}

impl std::fmt::Display for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { a, b, c, x, y, z } = self;
        writeln!(
            f,
            "      CPU virtual            CPU physical              bus"
        )?;
        writeln!(
            f,
            "  C {c:#016x} ◄── ioremap ──  B {b:#014x} ◄── host bridge ── A {a:#014x}  a register of the disk"
        )?;
        write!(
            f,
            "  X {x:#016x} ── page tables ► Y {y:#014x} ◄── IOMMU ──────── Z {z:#014x}  a buffer, while mapped"
        )
    }
}

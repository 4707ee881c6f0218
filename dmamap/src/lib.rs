//! The DMA mapping layer for Rust: kernels, hypervisors and userspace drivers.
//!
//! A driver's memory has one address for the CPU and another for the device, and between the two stand a host
//! bridge and perhaps an IOMMU. This crate owns every step:
//!
//! ```text
//!       CPU virtual            CPU physical               bus
//!           C   ◄── ioremap ──     B     ◄── host bridge ──  A     registers: the CPU reaches a device
//!           X   ── page tables ──► Y     ◄── IOMMU ────────  Z     buffers: a device reaches memory
//! ```
//!
//! *Registers.* Enumeration reads bus address A from a BAR ([`pci`]); the host bridge's window turns A into
//! physical address B ([`bridge`]); B is claimed in the resource tree ([`resource`]); `ioremap` maps B at virtual
//! address C, and the driver reads and writes registers through C ([`mmio`]).
//!
//! *Buffers.* A driver's buffer has virtual address X; the CPU's page tables put it at physical address Y
//! ([`buffer`]); mapping it for one device ([`device`], [`map`]) chooses bus address Z ([`iova`]) and makes that
//! device, and no other, reach Y at Z ([`pagetable`], [`iommu`]), for as long as the mapping lives. Unmapping
//! runs the journey backwards: clear, invalidate, wait, *then* reuse Z.
//!
//! The three kinds of address are three types ([`addr`]) that never turn into each other by themselves. What the
//! host environment lends is one trait ([`platform`]).
//!
//! # Example
//! A device behind an IOMMU reaches a buffer while it is mapped, and not a moment longer. The computer here is
//! the hosted one of this project; in a kernel the calls are the same.
//!
//! ```
//! use dmamap::addr::DmaMask;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::ToDevice;
//! use dmamap::system::Protection;
//! # use hosted::Hosted;
//! # use journeys::boot::{boot, BootOptions, MachineDescription};
//! # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
//! # let kernel = Hosted::boot(machine.clone())?;
//! # let rsdp = kernel.rsdp().ok_or("no ACPI")?;
//! # let host_bridge = kernel.host_bridges()?.remove(0);
//! # let description = MachineDescription { rsdp, host_bridge };
//! # // SAFETY: the machine is made of models and this kernel's alone.
//! # let computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default())? };
//! # let (system, function) = (computer.system(), computer.edus().next().ok_or("no device")?);
//!
//! // `system` holds the machine's IOMMU units, `function` was found by enumeration.
//! let device = system.attach(function, Protection::Strict)?;
//! device.set_mask_and_coherent(DmaMask::from_bits(28)?)?;
//!
//! let mut buffer = DmaBuffer::allocate(device.platform(), 4096)?;
//! buffer.as_mut_slice()[..5].copy_from_slice(b"hello");
//!
//! let mapping = device.map_single(buffer, ToDevice)?;
//! let z = mapping.bus_addr(); // what the device is told
//! assert_eq!(device.translate(z), Some(mapping.phys().start()));
//!
//! let buffer = mapping.unmap()?; // the device has lost it; it is ours again
//! assert_eq!(device.translate(z), None);
//! assert_eq!(&buffer.as_slice()[..5], b"hello");
//! # drop(buffer);
//! # device.detach()?;
//! # // SAFETY: every device was detached, and models obey their bus-master bit.
//! # unsafe { system.shutdown()? };
//! # machine.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trust
//! Behind an IOMMU the safe API holds against a malicious device: a mapping owns its memory, `unmap` gives it back
//! only when the device has lost it, and forgetting or dropping any handle at any point is safe. Where nothing
//! could take memory back from a device, attaching it is an `unsafe` call by which the caller vouches for it
//! ([`DmaSystem::attach_trusted`](system::DmaSystem::attach_trusted)).
#![no_std]

extern crate alloc;

// In the order of the journeys: registers, then buffers.
pub mod addr;
pub mod platform;

pub mod bridge;
pub mod mmio;
pub mod pci;
mod percpu;
pub mod resource;

pub mod bounce;
pub mod buffer;
pub mod device;
pub mod group;
pub mod iommu;
pub mod iova;
pub mod map;
pub mod pagetable;
pub mod system;

mod apart;
mod bitmap;
mod frame;
#[cfg(test)]
mod interleaved;
pub mod slab;
mod sync;

// loom's macros name it.
#[cfg(test)]
extern crate std;

// Tests of the crate itself link the register backend that boards bring.
#[cfg(test)]
use board as _;

#![no_std]
//! The DMA mapping layer.
extern crate alloc;

pub mod addr;
pub mod platform;
pub mod pci;
pub mod bridge;
pub mod resource;
pub mod mmio;
pub mod buffer;
pub mod device;
pub mod system;
pub mod map;
pub mod iova;
pub mod pagetable;
pub mod slab;
mod frame;
pub mod iommu;
